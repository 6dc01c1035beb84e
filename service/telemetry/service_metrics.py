"""Metrics of the service as a whole, read from Redis and the store whenever somebody asks."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import EngineState
from service.contracts.job import JobKind
from service.engines.overview import read_overview
from service.jobs.queue import JobQueue
from service.models.registry import MODELS
from service.models.space import free_bytes
from service.models.store import Store
from service.readiness import alive_workers
from service.telemetry.counts import Counts, read_counts

_COUNTERS = {
    "job_attempts": ("Attempts at jobs; more than jobs where workers were lost.", ["kind"]),
    "jobs_finished": ("Jobs that have ended.", ["kind", "state"]),
    "job_failures": ("Jobs that have failed, by the error's type.", ["kind", "error"]),
    "job_seconds": ("From the first attempt to the end, of jobs that have ended.", ["kind"]),
    "job_bytes": ("Of weights that jobs have written.", ["kind"]),
    "engine_loads": ("Models loaded: by a start of vLLM, or by a swap of its weights.", ["how"]),
    "engine_load_seconds": ("Spent with that.", ["how"]),
    "engine_load_failures": ("Models that an engine could not load.", []),
}
_USED_SECONDS = 60.0
"""How long the size of the store is good for: all of its files are looked at for it."""


class ServiceMetrics(Collector):
    """Equal on every gateway. With Redis away, `polymerge_redis_up` is 0, and what needs it is left out."""

    def __init__(self, redis: "Redis", jobs: JobQueue, store: Store) -> None:
        self._redis, self._jobs, self._store = redis, jobs, store
        self._used = 0
        self._measured = float("-inf")

    def collect(self) -> Iterator[Metric]:
        try:
            found = [
                *self._of_jobs(),
                *self._of_engines(),
                *_counters(read_counts(self._redis)),
                _gauge("models", "Models that are registered.", self._redis.hlen(MODELS)),
            ]
        except RedisError:
            found = []
        yield _gauge("redis_up", "Whether Redis answers.", bool(found))
        yield from found
        yield from self._of_the_store()

    def _of_jobs(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("polymerge_jobs", "Jobs that have not ended.", labels=["kind", "state"])
        active = list(self._jobs.active())
        for kind in get_args(JobKind):
            for state in ("queued", "running"):
                jobs.add_metric([kind, state], sum((job.kind, job.state) == (kind, state) for job in active))
        yield jobs
        queued = [job.created_at for job in active if job.state == "queued"]
        age = (datetime.now(UTC) - min(queued)).total_seconds() if queued else 0.0
        yield _gauge("queue_oldest_seconds", "Age of the oldest job that is queued.", age)

    def _of_engines(self) -> Iterator[Metric]:
        overview = read_overview(self._redis)
        engines = GaugeMetricFamily("polymerge_engines", "vLLM servers.", labels=["state"])
        for state in get_args(EngineState):
            engines.add_metric([state], sum(engine.state == state for engine in overview.items))
        yield engines
        memory = sum(engine.memory_bytes for engine in overview.items)
        yield _gauge("engine_memory_bytes", "Memory of all engines.", memory)
        budget = sum(worker.memory_budget_bytes for worker in overview.workers)
        yield _gauge("engine_memory_budget_bytes", "What serve workers may give to engines.", budget)
        running = sum(engine.leases for engine in overview.items)
        yield _gauge("engine_requests", "Requests that are running on engines.", running)
        waiting = sum(model.requests for model in overview.queue)
        yield _gauge("waiting_requests", "Requests whose model has no engine yet.", waiting)
        workers = GaugeMetricFamily("polymerge_workers", "Workers that are alive.", labels=["kind"])
        for kind, count in alive_workers(self._redis).items():
            workers.add_metric([kind], count)
        yield workers

    def _of_the_store(self) -> Iterator[Metric]:
        if time.monotonic() - self._measured > _USED_SECONDS:
            self._used, self._measured = self._store.used_bytes(), time.monotonic()
        yield _gauge("store_used_bytes", "Models, trash and work under way.", self._used)
        yield _gauge("store_free_bytes", "Free on the store's disk.", free_bytes(self._store))


def _counters(counts: Counts) -> Iterator[Metric]:
    for name, (text, labels) in _COUNTERS.items():
        counter = CounterMetricFamily(f"polymerge_{name}", text, labels=labels)
        for values, count in counts.get(name, {} if labels else {(): 0.0}).items():
            counter.add_metric(values, count)
        yield counter


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"polymerge_{name}", text, value=value)
