"""Merges under random kills and pauses of workers, gateway and Redis, and a count of what became of them.

The long run, some six minutes: python -m tests.chaos.conservation --merges 400 --faults 200 --every 1.5
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil

from service.connection import connect, text
from service.contracts.job import Job
from service.jobs.queue import QUEUE
from service.sources.files import hash_file
from tests.builders.free_port import free_port
from tests.builders.merge_site import MergeSite

_WORKERS = 2
_CANCELLED = 0.1
"""Of the merges, the part that is cancelled at once."""
_WAITING = 0.3
"""Of the merges, the part that names a model of an earlier one, whether it is there yet or not."""
_PAUSES = (0.1, 0.5, 2.0, 22.0)
"""Seconds; after the last, the job of a paused worker has been given to another one."""
_PATIENCE = 400.0
_LASTING = {
    "polymerge:jobs", "polymerge:models", "polymerge:aliases", "polymerge:counts", "rq:workers", "rq:queues"
}  # fmt: skip
_LASTING_OF_THE_QUEUE = ("rq:queue:", "rq:workers:", "rq:finished:", "rq:failed:", "rq:wip:")
"""Keys without an expiry: indexes of what there is, and rq's sets of names."""


class Chaos:
    """A site with gateway and workers, which are hurt at random by `hurt` and replaced at once."""

    def __init__(self, data: Path, seed: int) -> None:
        self.site = MergeSite(data)
        self.random = random.Random(seed)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.faults: Counter[str] = Counter()
        self._resume_at: dict[int, float] = {}
        self._gateway = self._start_gateway()
        self._workers = [self.site.start_worker() for _ in range(_WORKERS)]

    def hurt(self) -> None:
        """One fault; one that finds nothing to hurt is not counted."""
        fault, victim = self.random.choice(self._possible())
        seconds = self.random.choice(_PAUSES if "worker" in fault else _PAUSES[:-1])
        if fault.startswith("pause"):
            self._pause(victim, seconds)
        elif fault == "kill job":
            _signal(victim, signal.SIGKILL)
        elif fault == "kill redis":
            self.site.redis.kill()
            self.site.redis.start()
        elif fault == "kill gateway":
            self._gateway.kill()
            self._gateway.wait()
            self._gateway = self._start_gateway()
        else:
            self._replace_worker(victim)
        self.faults[fault] += 1

    def resume(self, everything: bool = False) -> None:
        """Let those go on whose pause is over."""
        for pid, moment in list(self._resume_at.items()):
            if everything or time.monotonic() >= moment:
                _signal(pid, signal.SIGCONT)
                del self._resume_at[pid]

    def stop(self) -> list[int]:
        """End everything but Redis as a user would; returns the processes that stay behind."""
        for process in (*self._workers, self._gateway):
            process.terminate()
        for process in (*self._workers, self._gateway):
            process.wait(60)
        return [process.pid for process in psutil.process_iter() if _belongs(process, self.site.data)]

    def close(self) -> None:
        self.resume(everything=True)
        self._gateway.kill()
        self._gateway.wait()
        self.site.close()

    def _possible(self) -> list[tuple[str, int]]:
        """Jobs are hurt more often than the worker's whole process, whose start takes seconds."""
        awake = [worker for worker in self._workers if worker.pid not in self._resume_at]
        jobs = [child.pid for worker in awake for child in psutil.Process(worker.pid).children()]
        found = [(f"{act} job", pid) for pid in jobs for act in ("kill", "kill", "pause")]
        found += [("pause worker", worker.pid) for worker in awake]
        found += [("kill worker", worker.pid) for worker in self._workers]
        for name, pid in (("gateway", self._gateway.pid), ("redis", self.site.redis.pid)):
            found += [(f"kill {name}", pid)]
            found += [(f"pause {name}", pid)] if pid not in self._resume_at else []
        return found

    def _pause(self, pid: int, seconds: float) -> None:
        _signal(pid, signal.SIGSTOP)
        self._resume_at[pid] = time.monotonic() + seconds

    def _replace_worker(self, pid: int) -> None:
        self.site.kill(pid)
        self._workers = [worker for worker in self._workers if worker.pid != pid]
        self._workers.append(self.site.start_worker())

    def _start_gateway(self) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "REDIS_URL": self.site.redis.url,
            "POLYMERGE_DATA": str(self.site.data),
            "POLYMERGE_PORT": str(self.port),
        }
        return subprocess.Popen([sys.executable, "-m", "service"], env=environment)


class Client(threading.Thread):
    """Submits merges over HTTP, each until it has an answer, some made from earlier ones; cancels some."""

    def __init__(self, url: str, merges: int, pause: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.accepted: set[str] = set()
        self.models: set[str] = set()
        self.answered = self.waiting = 0
        self._newest: dict[str, str] = {}
        self._http = httpx2.Client(base_url=url, timeout=10, trust_env=False)
        self._random = random.Random(seed)
        self._merges, self._pause = merges, pause

    def run(self) -> None:
        for number in range(1, self._merges + 1):
            self._merge(number)
            self.answered += 1
            time.sleep(self._pause)

    def _merge(self, number: int) -> None:
        """Every fourth takes long enough to be caught in the act."""
        speed = "slow" if number % 4 == 0 else "quick"
        earlier = self._newest.get(speed) if self._random.random() < _WAITING else None
        answer = self._insist("/merges", _recipe(number, speed, earlier or f"{speed}-2"))
        if answer.status_code == 422:
            # The earlier one has failed or was cancelled: there will be no such model.
            answer = self._insist("/merges", _recipe(number, speed, f"{speed}-2"))
        accepted = answer.status_code == 202
        model = answer.json()["model" if accepted else "id"]
        self._newest[speed] = model
        self.models.add(model)
        if accepted:
            job_id = answer.json()["id"]
            self.accepted.add(job_id)
            self.waiting += bool(answer.json()["waiting_for"])
            if self._random.random() < _CANCELLED:
                self._insist(f"/jobs/{job_id}/cancel")

    def _insist(self, path: str, body: Any = None) -> httpx2.Response:
        while True:
            try:
                answer = self._http.post(path, json=body)
            except httpx2.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code < 500 and answer.status_code != 429:
                assert answer.status_code in (200, 202, 422), answer.text
                return answer
            time.sleep(0.2)


def conserve(data: Path, merges: int, faults: int, every: float, seed: int = 0) -> dict[str, int]:
    """Raises AssertionError if a job is lost, a result half-visible, or anything is left behind."""
    chaos = Chaos(data, seed)
    try:
        client = Client(chaos.url, merges, faults * every / merges / 2, seed)
        client.start()
        while chaos.faults.total() < faults:
            chaos.hurt()
            next_fault = time.monotonic() + chaos.random.uniform(0, 2 * every)
            while time.monotonic() < next_fault:
                chaos.resume()
                time.sleep(0.05)
        chaos.resume(everything=True)
        _until(lambda: not client.is_alive(), "a request was never answered")
        assert client.answered == merges
        _until(lambda: all(job.finished for job in _jobs(chaos)), "a job never ended")
        _until(lambda: not chaos.site.store.staged(), "staging is left behind")
        counts = _count(chaos, client)
        _check_models(chaos)
        _until(lambda: not _taken(chaos), "a finished job is still being taken")
        _check_keys(chaos)
        assert chaos.stop() == [], "processes are left behind"
        return counts
    finally:
        chaos.close()


def _jobs(chaos: Chaos) -> list[Job]:
    return chaos.site.jobs.page(lambda job: job.kind == "merge", None, 100_000)[0]


def _count(chaos: Chaos, client: Client) -> dict[str, int]:
    jobs = _jobs(chaos)
    states = Counter[str](job.state for job in jobs)
    assert client.accepted <= {job.id for job in jobs}
    assert client.models <= {job.model for job in jobs}, "a recipe has no job"
    ended_without = {job.id for job in jobs if job.state in ("failed", "cancelled")}
    ended = states["succeeded"] + states["failed"] + states["cancelled"]
    assert len(jobs) == ended
    for job in jobs:
        assert (job.error is not None) == (job.state == "failed")
        assert job.error is None or job.error.type == "worker-lost" or job.error.job in ended_without, job
    blamed = sum(job.error is not None and job.error.type == "dependency-failed" for job in jobs)
    counts = {"submitted": len(jobs), "had to wait": client.waiting, **states, "failed with another": blamed}
    return {**counts, **chaos.faults, "faults": chaos.faults.total()}


def _check_models(chaos: Chaos) -> None:
    store = chaos.site.store
    folders = {path.name for path in (store.root / "models").iterdir()}
    for model_id in folders:
        manifest, folder = store.manifest(model_id), store.path(model_id)
        files = {path.name for path in folder.iterdir()} - {"manifest.json"}
        assert files == manifest.files.keys()
        assert all(hash_file(folder / name) == entry for name, entry in manifest.files.items())
    assert {model.id for model in chaos.site.registry.models()} == folders
    made = {job.model for job in _jobs(chaos) if job.state == "succeeded"}
    assert made <= folders


def _taken(chaos: Chaos) -> list[Any]:
    """Jobs that rq moved aside for a worker."""
    taken: Any = connect(chaos.site.redis.url).lrange(f"rq:queue:{QUEUE}:intermediate", 0, -1)
    return list(taken)


def _check_keys(chaos: Chaos) -> None:
    redis = connect(chaos.site.redis.url)
    lasting = {text(key) for key in redis.scan_iter() if redis.ttl(key) == -1}
    unexpected = {key for key in lasting - _LASTING if key.removesuffix(QUEUE) not in _LASTING_OF_THE_QUEUE}
    assert not unexpected, f"keys that never expire: {unexpected}"


def _recipe(number: int, speed: str, other: str) -> dict[str, Any]:
    """One of a kind for each number."""
    return {
        "merge_method": "ties",
        "base_model": f"{speed}-0",
        "models": [{"model": f"{speed}-1"}, {"model": other}],
        "parameters": {"weight": 1 / number, "density": 0.5},
    }


def _belongs(process: psutil.Process, data: Path) -> bool:
    try:
        return (
            process.environ().get("POLYMERGE_DATA") == str(data) and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--merges", type=int, default=400)
    options.add_argument("--faults", type=int, default=200)
    options.add_argument("--every", type=float, default=2.0, help="seconds between faults, on average")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(conserve(Path(folder), given.merges, given.faults, given.every, given.seed))


if __name__ == "__main__":
    main()
