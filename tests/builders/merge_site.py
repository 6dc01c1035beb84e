"""A place to merge with real processes: an append-only Redis, a store with random models, merge workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import torch

from service.connection import connect
from service.contracts.job import Job
from service.jobs.coming import ComingModels
from service.jobs.queue import JobQueue
from service.models.registry import Registry
from service.models.store import Store
from service.recipes.accept import accept
from service.recipes.digest import canonical
from tests.builders.redis_server import RedisServer
from tests.workers.serving.models import add_model

SHARD_BYTES = 1_500_000
"""In slow merges, every tensor has a file of its own."""
_PATIENCE = 90.0
_SLOW_SHAPES = {f"model.layers.{layer}.mlp.up_proj.weight": (512, 1024) for layer in range(14)}
_QUICK_SHAPES = {"model.layers.0.mlp.up_proj.weight": (8, 16)}
_EXPERTS = 3


class MergeSite:
    """Close it: it ends every process that it started."""

    def __init__(self, data: Path, store: Store | None = None) -> None:
        self.data = data
        self.store = store or Store(data / "store")
        self.redis = RedisServer(data / "redis")
        client = connect(self.redis.url)
        self.jobs = JobQueue(client)
        self.registry = Registry(self.store, client)
        self._workers: list[subprocess.Popen[bytes]] = []
        self._weights = count(1)
        for speed, shapes in (("slow", _SLOW_SHAPES), ("quick", _QUICK_SHAPES)):
            for number in range(_EXPERTS + 1):
                self.add(f"{speed}-{number}", _random(shapes, number))

    def add(self, name: str, tensors: dict[str, torch.Tensor]) -> str:
        """Register a model under the name; its id is returned."""
        ident = f"m_{len(list(self.store.manifests())):016x}"
        self.registry.add(add_model(self.store, ident, tensors), [name])
        return ident

    def start_worker(self, **settings: str) -> subprocess.Popen[bytes]:
        """With one thread, so that slow merges are slow. `settings` are environment variables."""
        environment = {
            **os.environ,
            "REDIS_URL": self.redis.url,
            "POLYMERGE_DATA": str(self.data),
            "POLYMERGE_MERGE_THREADS": "1",
            "POLYMERGE_SHARD_BYTES": str(SHARD_BYTES),
            **settings,
        }
        worker = subprocess.Popen([sys.executable, "-m", "workers.merge_worker"], env=environment)
        self._workers.append(worker)
        return worker

    def merge(self, speed: str, *sources: str, name: str | None = None) -> Job:
        """Queue a merge that is new, slow or quick: of the `sources`, else of three experts."""
        experts = sources or [f"{speed}-{number}" for number in range(1, _EXPERTS + 1)]
        recipe = {
            "merge_method": "della" if speed == "slow" else "ties",
            "base_model": f"{speed}-0",
            "models": [{"model": expert} for expert in experts],
            "parameters": {"weight": 1 / next(self._weights), "density": 0.5},
        }
        return self.submit(recipe, name)

    def submit(self, recipe: dict[str, Any], name: str | None = None) -> Job:
        """As POST /merges does."""
        coming = ComingModels(self.registry, self.jobs)
        merge = accept(recipe, 0, coming.resolve, self.store, plans=coming.plans)
        request = {"recipe": canonical(merge.recipe), "seed": 0}
        waiting_for = coming.makers(merge.recipe.references())
        return self.jobs.submit("merge", request, model=merge.model_id, name=name, waiting_for=waiting_for)

    def merge_again(self, job: Job, name: str) -> Job:
        """The same request once more."""
        return self.jobs.submit("merge", job.request, model=job.model, name=name)

    def halfway(self, job: Job, attempt: int = 1) -> Job:
        """The job once that attempt has done some of its work, but not all."""

        def working() -> bool:
            now = self.jobs.get(job.id)
            assert not now.finished, f"too quick to be caught: {now}"
            return now.attempt == attempt and 0 < now.progress.bytes_done < now.progress.bytes_total

        until(working)
        return self.jobs.get(job.id)

    def finished(self, job: Job) -> Job:
        until(lambda: self.jobs.get(job.id).finished)
        return self.jobs.get(job.id)

    def kill(self, *pids: int) -> None:
        """kill -9, and nobody but us waits for them."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for worker in self._workers:
            if worker.pid in pids:
                worker.wait()

    def stop_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def close(self) -> None:
        self.stop_workers()
        self.redis.kill()


def job_process(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that does the worker's job."""
    (child,) = psutil.Process(worker.pid).children()
    return child


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.02)


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=chance).bfloat16() for name, shape in shapes.items()}
