"""The whole service as `polymerge up` starts it, with tiny models that a real vLLM serves."""

import signal
from collections.abc import Iterator

import pytest

from service.models.store import Store
from tests.builders.running_service import start, stop
from tests.builders.tiny_llama import add_tiny_llama
from tests.chaos.patient import Patient

MODELS = ("m_00000000000000a1", "m_00000000000000a2")
CUT, BROKEN = "m_00000000000000b1", "m_00000000000000b2"
"""A model whose file has been cut short, and one whose weights are no numbers."""


@pytest.fixture(scope="package")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    data = tmp_path_factory.mktemp("data")
    store = Store(data / "store")
    for seed, ident in enumerate((*MODELS, CUT)):
        add_tiny_llama(store, ident, seed)
    add_tiny_llama(store, BROKEN, 9, scale=float("nan"))
    with (store.path(CUT) / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.MonkeyPatch.context() as environment:
        # Room for one engine, however many cores there are: faults are to hit the one that answers.
        environment.setenv("POLYMERGE_SERVE_MEMORY_BYTES", str(3_500_000_000))
        running = start(data)
    try:
        yield Patient(running, MODELS)
        stop(running, signal.SIGTERM)
    finally:
        running.process.kill()
        running.api.close()
