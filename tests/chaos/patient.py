"""A service that parts are killed of: what it must do then, and within which time."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psutil

from clients.sdk.errors import PolymergeError
from tests.builders.running_service import Running

HEAL_SECONDS = 90.0
_PROMPT = "Once upon a time"
_LONG = 1500

PARTS = {
    "worker": "VLLM::Worker",
    "engine core": "VLLM::EngineCore",
    "API server": "vllm.entrypoints",
    "serve worker": "workers.serve_worker",
    "gateway": "-m service",
}


class Patient:
    def __init__(self, running: Running, models: Sequence[str]) -> None:
        self.running, self.models = running, models
        self._own = {model: self.ask(model) for model in models}
        assert len(set(self._own.values())) == len(models), "the models must differ for this to be a test"

    def ask(self, model: str, max_tokens: int = 12) -> str:
        answer = self.running.api.generate(model, _PROMPT, max_tokens=max_tokens)
        assert answer.model == model
        return answer.outputs[0].text

    def kill(self, part: str) -> None:
        """kill -9, if the part runs at this moment."""
        for process in self._processes(part):
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """vLLM's worker gets no more memory than it has, until the block ends."""
        (worker,) = self._processes("worker")
        before = worker.rlimit(psutil.RLIMIT_AS)
        worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms, before[1]))
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.rlimit(psutil.RLIMIT_AS, before)

    def while_generating(self, act: Callable[[], None]) -> None:
        """Requests that are hit get the model's own answer or an error of the API."""
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(self._hit, self.models[0], _LONG)
            while not any(engine.leases for engine in self.running.api.engines()):
                assert not asked.done()
                time.sleep(0.02)
            act()
            asked.result()

    def while_changing(self, act: Callable[[], None]) -> None:
        """Likewise, with requests for all models on their way, so that a load or swap goes on."""
        ended = threading.Event()

        def ask_on(model: str) -> None:
            while not ended.is_set():
                self._hit(model, 12)

        with ThreadPoolExecutor(len(self.models)) as clients:
            asking = [clients.submit(ask_on, model) for model in self.models]
            try:
                self._until(lambda: any(e.state != "ready" for e in self.running.api.engines()))
                act()
            finally:
                ended.set()
            for item in asking:
                item.result()

    def check_healed(self) -> None:
        """Every model gives its own answer within the time, and no process is left over."""
        deadline = time.monotonic() + HEAL_SECONDS
        for model in self.models:
            while True:
                try:
                    assert self.ask(model) == self._own[model]
                    break
                except PolymergeError:
                    assert time.monotonic() < deadline, f"{model} is not answered"
                    time.sleep(0.5)
        self._until(self._only_engines_run)

    def _processes(self, part: str) -> list[psutil.Process]:
        found = []
        for process in self.running.descendants():
            with suppress(psutil.Error):
                if PARTS[part] in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def _hit(self, model: str, max_tokens: int) -> None:
        with suppress(PolymergeError):
            assert self.ask(model, max_tokens).startswith(self._own[model][:4])

    def _only_engines_run(self) -> bool:
        """Whether each server of vLLM belongs to a listed engine, and each of its processes to a server."""
        listed = {engine.pid for engine in self.running.api.engines()}
        servers, strays = set(), set()
        for process in self.running.descendants():
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if PARTS["API server"] in command:
                    servers.add(process.pid)
                elif "VLLM::" in command and not listed & {parent.pid for parent in process.parents()}:
                    strays.add(process.pid)
        return servers == listed and not strays

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + HEAL_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)
