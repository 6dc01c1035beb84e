"""`python -m workers.merge_worker`: takes jobs from rq, each in a process of its own."""

import logging
import os
import socket
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.job import Job as RqJob
from rq.timeouts import JobTimeoutException

from service.bucket.away import BucketAway
from service.connection import connect
from service.contracts.job import Job, JobError
from service.jobs.queue import MAX_ATTEMPTS, QUEUE, JobQueue, UnknownJob
from service.models.intact import Damaged
from service.models.open_store import open_store
from service.models.registry import Registry
from service.models.store import Store
from service.readiness import announce_merge_worker, withdraw_merge_worker
from service.recipes.refusal import Refused
from service.settings import Settings
from service.telemetry.logs import configure_logging
from service.telemetry.request import begin
from service.telemetry.traces import traced_job
from workers.import_job import run_import
from workers.job_log import logged
from workers.merge_job import LostSource, run_merge
from workers.merging.difference import difference
from workers.merging.engine import NotFinite
from workers.merging.finished_shards import hand_on
from workers.merging.model_folder import NoSpace
from workers.parent_death import die_with_parent
from workers.push_failed import PushFailed
from workers.push_job import run_push
from workers.watch import JobCancelled, JobTimedOut, Watch

log = logging.getLogger("polymerge.merge_worker")

_MONITOR_SECONDS = 5
_LOST_SECONDS = 20
"""A job whose worker has been silent for this long is given to another one."""
_BACKOFF_SECONDS = (0.0, 1.0, 5.0)
"""Before each attempt: what ended the one before may take a moment to pass."""


class MergeWorker(Worker):
    """rq's worker with seconds instead of minutes for a lost job, and our records kept in step."""

    store: Store

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline=pipeline)
        announce_merge_worker(pipeline if pipeline is not None else self.connection, self.name)

    def register_death(self) -> None:
        super().register_death()
        withdraw_merge_worker(self.connection, self.name)

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:
        return _LOST_SECONDS

    def clean_registries(self) -> None:
        for queue in self.queues:
            # rq's lock would outlive a worker that was killed while it held it by a quarter of an hour.
            if self.connection.ttl(queue.registry_cleaning_key) > _LOST_SECONDS:
                self.connection.expire(queue.registry_cleaning_key, _LOST_SECONDS)
        super().clean_registries()
        jobs = JobQueue(self.connection)
        jobs.reconcile()
        _sweep(jobs, self.store)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop at once, in the middle of a job too."""
        if self.horse_pid:
            self.kill_horse()
            raise SystemExit
        super().request_stop(signum, frame)

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        try:
            super().execute_job(job, queue)
        except SystemExit:
            self.wait_for_horse()
            self._give_back(job, queue)
            raise

    def _give_back(self, job: RqJob, queue: Queue) -> None:
        """Queue the job that we were stopped in again, at no cost to its retries."""
        if job.get_status() in ("finished", "failed"):
            return
        job.retries_left = (job.retries_left or 0) + 1
        self.handle_job_failure(job, queue, execution=self.execution)
        jobs = JobQueue(self.connection)
        jobs.give_back(jobs.get(job.id))


def run_job(job_id: str) -> None:
    """What rq runs, in the job's own process: one attempt at a job of ours.

    Raises RedisError or BucketAway, after which rq tries again, from what this attempt has finished;
    whatever else goes wrong is the job's end.
    """
    die_with_parent(_worker_pid)
    settings = Settings.from_environment()
    redis = connect(settings.redis_url)
    queue, store = JobQueue(redis), open_store(settings)
    job = queue.start(job_id, _worker_name())
    if job.finished:
        return
    begin(job.request_id)
    with logged(queue, job), traced_job(job) as attributes:
        log.info("%s %s begins, attempt %d", job.kind, job.id, job.attempt)
        staging = _stage(job, store)
        _sweep(queue, store)
        ended = _attempt(job, staging, queue, store, settings, Registry(store, redis))
        attributes["polymerge.state"] = ended.state
        log.info("%s %s %s", ended.kind, ended.id, ended.state)
    store.discard(job.staging)


def _stage(job: Job, store: Store) -> Path:
    """A folder for this attempt, with what earlier ones have finished."""
    folder = store.stage(job.staging)
    for earlier in range(1, job.attempt):
        hand_on(store.staging(job.staging_of(earlier)), folder)
    return folder


def _attempt(
    job: Job, staging: Path, queue: JobQueue, store: Store, settings: Settings, registry: Registry
) -> Job:
    try:
        watch = Watch(queue, job)
        watch.check()
        watch.pause(_BACKOFF_SECONDS[min(job.attempt, len(_BACKOFF_SECONDS)) - 1])
        if job.kind == "push":
            url = run_push(job, store, settings, watch)
            return queue.finish(job, "succeeded", model=job.request["model"], url=url)
        return _make(job, staging, queue, store, settings, registry, watch)
    except JobCancelled:
        return queue.finish(job, "cancelled")
    except RedisError:
        raise
    except BucketAway as error:
        if job.attempt < MAX_ATTEMPTS:
            raise
        return queue.finish(job, "failed", error=_explain(error))
    except Damaged as error:
        registry.set_damage(error.model_id, str(error))
        return queue.finish(job, "failed", error=_explain(error))
    except Exception as error:
        log.exception("%s %s failed", job.kind, job.id)
        return queue.finish(job, "failed", error=_explain(error))


def _make(
    job: Job,
    staging: Path,
    queue: JobQueue,
    store: Store,
    settings: Settings,
    registry: Registry,
    watch: Watch,
) -> Job:
    run = run_merge if job.kind == "merge" else run_import
    manifest = run(job, staging, store, settings, watch)
    registry.add(manifest, queue.names(job))
    ended = queue.finish(job, "succeeded", model=manifest.id, remarks=manifest.remarks)
    # Names of requests that joined the job after that; now that it has ended, none does any more.
    registry.add(manifest, queue.names(job))
    return ended


def _explain(error: Exception) -> JobError:
    kinds = {
        Refused: "invalid-source",
        Damaged: "damaged-source",
        LostSource: "damaged-source",
        NotFinite: "not-finite",
        NoSpace: "no-space",
        PushFailed: "push-failed",
        JobTimedOut: "timeout",
        JobTimeoutException: "timeout",
        OSError: "input-output",
    }
    slug = next((slug for kind, slug in kinds.items() if isinstance(error, kind)), "internal")
    detail = str(error) or type(error).__name__
    return JobError(type=slug, detail=detail if slug != "internal" else f"{type(error).__name__}: {detail}")


def _sweep(queue: JobQueue, store: Store) -> None:
    """Discard what attempts that were killed have left in staging."""
    for staging in store.staged():
        job_id, _, attempt = staging.partition(".")
        try:
            job = queue.get(job_id)
        except UnknownJob:
            continue
        if job.finished or int(attempt) < job.attempt:
            store.discard(staging)


def _worker_name() -> str:
    return f"{socket.gethostname()}:{_worker_pid}"


_worker_pid = os.getpid()
"""Of the worker: its forked job processes have it from before the fork."""


def make_worker(redis: "Redis") -> MergeWorker:
    worker = MergeWorker(
        [Queue(QUEUE, connection=redis, serializer="json")],
        connection=redis,
        serializer="json",
        job_monitoring_interval=_MONITOR_SECONDS,
        maintenance_interval=_MONITOR_SECONDS,
        # rq blocks for worker_ttl - 15 seconds at a time, and only looks for lost jobs in between.
        worker_ttl=20,
        log_job_description=False,
    )
    worker.store = open_store(Settings.from_environment())
    return worker


def main() -> None:
    settings = Settings.from_environment()
    configure_logging(settings.log)
    _set_up_compiler()
    log.info("taking jobs for the store %s", settings.store_bucket or settings.store_root)
    # At INFO, rq tells of its maintenance every few seconds.
    make_worker(connect(settings.redis_url)).work(logging_level="WARNING")


def _set_up_compiler() -> None:
    """At its first use it takes as long as a small merge: job processes have it from before their fork."""
    number = torch.zeros(1, 1, dtype=torch.bfloat16)
    difference(number, number)


if __name__ == "__main__":
    # rq imports the entry point by name: run as that module, so that _worker_pid is this process there too.
    from workers.merge_worker import main as run

    run()
