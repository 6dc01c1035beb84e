"""Counts of what workers do. They are kept in Redis, because workers are other processes, and come and go."""

from typing import Any, Literal

from redis import Redis

from service.connection import text
from service.contracts.job import Job

_COUNTS = "polymerge:counts"
"""Hash: a count's name and label values, with spaces between -> how many, or how much in all."""

Counts = dict[str, dict[tuple[str, ...], float]]
"""By name and label values."""


def count_job(pipe: Any, before: Job, after: Job) -> None:
    """Have `pipe` count what this change to a job's record tells of; a job is finished once only."""
    if after.attempt > before.attempt:
        _add(pipe, 1, "job_attempts", after.kind)
    if not after.finished:
        return
    _add(pipe, 1, "jobs_finished", after.kind, after.state)
    if after.started_at and after.finished_at:
        _add(pipe, (after.finished_at - after.started_at).total_seconds(), "job_seconds", after.kind)
    if after.state == "succeeded":
        _add(pipe, after.progress.bytes_total, "job_bytes", after.kind)
    if after.error:
        _add(pipe, 1, "job_failures", after.kind, after.error.type)


def count_load(redis: "Redis", how: Literal["start", "swap"], seconds: float) -> None:
    """An engine has a model, after a start of vLLM or a change of its weights."""
    with redis.pipeline() as pipe:
        _add(pipe, 1, "engine_loads", how)
        _add(pipe, seconds, "engine_load_seconds", how)
        pipe.execute()


def count_load_failure(redis: "Redis") -> None:
    """An engine could not load a model."""
    _add(redis, 1, "engine_load_failures")


def read_counts(redis: "Redis") -> Counts:
    """Everything that was counted since Redis was empty."""
    counts: Counts = {}
    for field, value in redis.hgetall(_COUNTS).items():
        name, *labels = text(field).split(" ")
        counts.setdefault(name, {})[tuple(labels)] = float(value)
    return counts


def _add(redis: Any, amount: float, name: str, *labels: str) -> None:
    redis.hincrbyfloat(_COUNTS, " ".join([name, *labels]), amount)
