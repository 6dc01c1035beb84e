"""Jobs that wait for others: no worker gets them before, and they end with whatever they can't do without."""

import pytest
from redis import Redis
from rq import Queue

from service.contracts.job import Job, JobError
from service.jobs.queue import QUEUE, JobQueue


@pytest.fixture
def jobs(redis: "Redis") -> JobQueue:
    return JobQueue(redis)


def queued(redis: "Redis") -> list[str]:
    ids: list[str] = Queue(QUEUE, connection=redis, serializer="json").job_ids
    return ids


def submit(jobs: JobQueue, *others: Job) -> Job:
    return jobs.submit("merge", {}, waiting_for=[other.id for other in others])


def succeed(jobs: JobQueue, job: Job) -> None:
    jobs.finish(jobs.start(job.id, "w"), "succeeded", model="m_00000000000000aa")


def test_a_job_is_queued_when_the_last_that_it_waits_for_has_succeeded(
    jobs: JobQueue, redis: "Redis"
) -> None:
    first, second = submit(jobs), submit(jobs)
    last = submit(jobs, first, second)
    assert (last.state, last.waiting_for) == ("queued", [first.id, second.id])
    assert last.id not in queued(redis)

    succeed(jobs, first)
    assert jobs.get(last.id).waiting_for == [second.id]
    assert last.id not in queued(redis)

    succeed(jobs, second)
    jobs.reconcile()
    assert jobs.get(last.id).waiting_for == []
    assert queued(redis).count(last.id) == 1


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_one_that_ends_without_success_ends_all_that_wait_for_it_and_is_named_in_each(
    jobs: JobQueue, redis: "Redis", state: str
) -> None:
    root = submit(jobs)
    left, right = submit(jobs, root), submit(jobs, root)
    bottom = submit(jobs, left, right)

    if state == "failed":
        jobs.finish(jobs.start(root.id, "w"), "failed", error=JobError(type="not-finite", detail="a NaN"))
    else:
        jobs.cancel(root.id)

    for job in (left, right, bottom):
        ended = jobs.get(job.id)
        assert ended.state == "failed"
        assert ended.error is not None
        assert (ended.error.type, ended.error.job) == ("dependency-failed", root.id)
        assert state in ended.error.detail
        assert ("a NaN" in ended.error.detail) == (state == "failed")
        assert job.id not in queued(redis)
    assert list(jobs.active()) == []


def test_a_job_that_waits_for_one_that_has_ended_is_not_left_waiting(jobs: JobQueue, redis: "Redis") -> None:
    done, failed = submit(jobs), submit(jobs)
    succeed(jobs, done)
    jobs.cancel(failed.id)

    assert submit(jobs, done).id in queued(redis)
    assert submit(jobs, done, failed).state == "failed"


def test_a_waiting_job_can_be_cancelled(jobs: JobQueue, redis: "Redis") -> None:
    first = submit(jobs)
    second = submit(jobs, first)
    third = submit(jobs, second)

    assert jobs.cancel(second.id).state == "cancelled"
    assert jobs.get(third.id).state == "failed"

    succeed(jobs, first)
    assert second.id not in queued(redis)


def test_what_a_crash_left_waiting_is_settled_later(jobs: JobQueue, redis: "Redis") -> None:
    """Whoever ended the first job died before it could tell the second."""
    first = submit(jobs)
    second = submit(jobs, first)
    redis.delete(f"polymerge:job:{first.id}:waiting")
    succeed(jobs, first)
    assert second.id not in queued(redis)

    jobs.reconcile()

    assert second.id in queued(redis)


def test_long_chains_fail_in_one_go(jobs: JobQueue) -> None:
    chain = [submit(jobs)]
    for _ in range(300):
        chain.append(submit(jobs, chain[-1]))

    jobs.cancel(chain[0].id)

    assert jobs.get(chain[-1].id).state == "failed"
    assert list(jobs.active()) == []


def test_all_that_is_kept_of_waiting_expires(jobs: JobQueue, redis: "Redis") -> None:
    first = submit(jobs)
    submit(jobs, first)

    assert redis.ttl(f"polymerge:job:{first.id}:waiting") > 0
