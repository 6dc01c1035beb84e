"""The Python SDK against a real gateway."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import Polymerge
from clients.sdk.errors import ProblemError, Unreachable
from clients.sdk.readiness import ask
from clients.stack.ports import claim_port
from clients.stack.stack import GATEWAY, Stack
from service.contracts.model import ImportSource
from tests.service.sources.build import checkpoint


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with Stack(tmp_path, port=0, parts=(GATEWAY,)) as stack:
        deadline = time.monotonic() + 60
        while ask(stack.url) is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield stack


def test_reading_rides_out_a_restart_of_the_gateway(stack: Stack) -> None:
    with Polymerge(stack.url) as service:
        assert service.models.page().items == []

        os.kill(stack.pids()["gateway"], signal.SIGKILL)

        assert service.models.page().items == []


def test_a_jobs_events_are_followed_on_from_the_last_one_seen_when_the_gateway_is_killed(
    stack: Stack,
) -> None:
    checkpoint(stack.sources / "mine")
    with Polymerge(stack.url) as service:
        job = service.models.import_(ImportSource(folder="mine"))
        events = service.jobs.events(job.id)
        seen = [next(events)]

        os.kill(stack.pids()["gateway"], signal.SIGKILL)
        assert service.jobs.get(job.id).state == "queued"
        service.jobs.cancel(job.id)
        seen += events

    assert [(event.type, event.data["state"]) for event in seen] == [
        ("state", "queued"),
        ("state", "cancelled"),
    ]


def test_a_refusal_carries_the_fields_that_it_is_about(stack: Stack) -> None:
    recipe = {"merge_method": "linear", "models": [{"model": "nobody", "parameters": {"weight": 1}}]}
    with Polymerge(stack.url) as service, pytest.raises(ProblemError) as caught:
        service.merges.submit(recipe)

    problem = caught.value.problem
    assert (problem.status, problem.type) == (422, "invalid-recipe")
    assert [error.pointer for error in problem.errors] == ["/models/0/model"]


def test_nobody_at_the_address_is_said_with_what_to_do() -> None:
    url = f"http://127.0.0.1:{claim_port('127.0.0.1', 0)}"
    with (
        Polymerge(url) as service,
        pytest.raises(Unreachable, match=rf"nobody answers at {url}.*polymerge up"),
    ):
        service.models.page()
    assert Polymerge(url).ready() is None
