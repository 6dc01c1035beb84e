"""`python -m workers.merge_worker`: takes jobs from rq, each in a process of its own."""

import logging
import os
import socket
from types import FrameType
from typing import Any

from redis import Redis
from rq import Queue, Worker
from rq.job import Job as RqJob

from service.connection import connect
from service.contracts.job import Job, JobError
from service.contracts.model import Manifest
from service.queue import QUEUE, JobQueue
from service.readiness import announce_merge_worker
from service.recipes.refusal import Refused
from service.registry import Registry
from service.settings import Settings
from service.store import Store
from workers.import_job import run_import
from workers.merge_job import NoSpace, run_merge
from workers.merging.engine import NotFinite
from workers.parent_death import die_with_parent
from workers.watch import JobCancelled, Watch

log = logging.getLogger("polymerge.merge_worker")

_MONITOR_SECONDS = 5
_LOST_SECONDS = 20
"""A job whose worker has been silent for this long is given to another one."""


class MergeWorker(Worker):
    """rq's worker with seconds instead of minutes for a lost job, and our records kept in step."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline=pipeline)
        announce_merge_worker(pipeline if pipeline is not None else self.connection, self.name)

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:
        return _LOST_SECONDS

    def clean_registries(self) -> None:
        super().clean_registries()
        JobQueue(self.connection).reconcile()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop at once: another worker, or this one after a restart, takes the job up again."""
        if self.horse_pid:
            self.kill_horse()
            self.wait_for_horse()
            raise SystemExit
        super().request_stop(signum, frame)


def run_job(job_id: str) -> None:
    """What rq runs, in the job's own process: one attempt at a job of ours."""
    die_with_parent(_worker_pid)
    settings = Settings.from_environment()
    redis = connect(settings.redis_url)
    queue = JobQueue(redis)
    job = queue.start(job_id, _worker_name())
    if job.finished:
        return
    store = Store(settings.store_root)
    try:
        if queue.cancelled(job_id):
            raise JobCancelled
        manifest = _run(job, store, settings, Watch(queue, job_id))
        Registry(store, redis).add(manifest, job.name)
        queue.finish(job_id, "succeeded", model=manifest.id)
    except JobCancelled:
        queue.finish(job_id, "cancelled")
    except Exception as error:
        log.exception("job %s failed", job_id)
        queue.finish(job_id, "failed", error=_explain(error))
    finally:
        store.discard(job_id)


def _run(job: Job, store: Store, settings: Settings, watch: Watch) -> Manifest:
    if job.kind == "merge":
        return run_merge(job, store, settings, watch)
    return run_import(job, store, settings, watch)


def _explain(error: Exception) -> JobError:
    kinds = {Refused: "invalid-source", NotFinite: "not-finite", NoSpace: "no-space", OSError: "input-output"}
    slug = next((slug for kind, slug in kinds.items() if isinstance(error, kind)), "internal")
    detail = str(error) or type(error).__name__
    return JobError(type=slug, detail=detail if slug != "internal" else f"{type(error).__name__}: {detail}")


def _worker_name() -> str:
    return f"{socket.gethostname()}:{_worker_pid}"


_worker_pid = os.getpid()
"""Of the worker: its forked job processes have it from before the fork."""


def make_worker(redis: "Redis") -> MergeWorker:
    return MergeWorker(
        [Queue(QUEUE, connection=redis, serializer="json")],
        connection=redis,
        serializer="json",
        job_monitoring_interval=_MONITOR_SECONDS,
        maintenance_interval=_MONITOR_SECONDS,
        # rq blocks for worker_ttl - 15 seconds at a time, and only looks for lost jobs in between.
        worker_ttl=20,
        log_job_description=False,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings.from_environment()
    redis = connect(settings.redis_url)
    make_worker(redis).work()


if __name__ == "__main__":
    # rq imports the entry point by name: run as that module, so that _worker_pid is this process there too.
    from workers.merge_worker import main as run

    run()
