"""Parts that die under the running service: it heals, and nothing is left over. Last of all, its end."""

import signal
import time
from contextlib import suppress

import httpx2
import pytest

from clients.sdk.errors import PolymergeError
from tests.builders.running_service import Running, start, stop

pytestmark = pytest.mark.engine


def eventually_answers(service: Running) -> None:
    """Within 90 s; until then errors must be clear ones."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with suppress(PolymergeError):
            service.api.generate("mix15", "Hello", max_tokens=4)
            return
        time.sleep(1)
    service.api.generate("mix15", "Hello", max_tokens=4)


def test_a_killed_serve_worker_is_replaced_with_its_engines(service: Running) -> None:
    eventually_answers(service)
    before = {process.pid for process in service.descendants() if "VLLM" in " ".join(process.cmdline())}
    service.find("workers.serve_worker").send_signal(signal.SIGKILL)
    time.sleep(1)
    eventually_answers(service)
    after = {process.pid for process in service.descendants() if "VLLM" in " ".join(process.cmdline())}
    assert len(after) == len(before)
    assert not after & before


def test_redis_can_die_while_the_service_runs(service: Running) -> None:
    models = {model.id for model in service.api.models.all()}
    service.find("valkey-server").send_signal(signal.SIGKILL)
    eventually_answers(service)
    assert {model.id for model in service.api.models.all()} == models


def test_a_damaged_model_is_refused_and_taken_out_of_service_and_the_engine_goes_on(service: Running) -> None:
    model = service.api.merge(
        {"merge_method": "linear", "models": [{"model": "general", "parameters": {"weight": 1}}]}
    )
    weights = service.data / "store" / "models" / model.id / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(PolymergeError, match="damaged"):
        service.api.generate(model.id, "Hello", max_tokens=4)
    assert service.api.models.get(model.id).state == "damaged"
    service.api.generate("mix15", "Hello", max_tokens=4)


def test_a_stop_with_a_loaded_engine_leaves_nothing_and_the_next_start_has_everything(
    service: Running,
) -> None:
    eventually_answers(service)
    models = {model.id for model in service.api.models.all()}
    stop(service, signal.SIGINT)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{service.api.base_url}/healthz", trust_env=False)
    service.api.close()
    again = start(service.data)
    service.process, service.api = again.process, again.api
    assert {model.id for model in service.api.models.all()} == models
