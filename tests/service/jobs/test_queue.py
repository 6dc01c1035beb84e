"""Jobs: queued once, changed by their latest attempt only, and repaired when rq has lost them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus

from service.connection import connect, text
from service.contracts.job import Job, JobError, Progress
from service.jobs.queue import QUEUE, JobQueue, QueueFull, UnknownJob

MODEL, OTHER = "m_00000000000000aa", "m_00000000000000bb"


@pytest.fixture
def jobs(redis: "Redis") -> JobQueue:
    return JobQueue(redis)


def queued(redis: "Redis") -> list[str]:
    ids: list[str] = Queue(QUEUE, connection=redis, serializer="json").job_ids
    return ids


def states(jobs: JobQueue, job_id: str) -> list[str]:
    return [event.data["state"] for event in jobs.events(job_id) if event.type == "state"]


def test_a_job_is_recorded_and_queued(jobs: JobQueue, redis: "Redis") -> None:
    job = jobs.submit("merge", {"recipe": {}}, model=MODEL, name="mine")

    assert queued(redis) == [job.id]
    assert jobs.get(job.id) == job
    assert (job.state, job.attempt, job.model, job.name) == ("queued", 0, MODEL, "mine")


def test_requests_for_one_model_at_the_same_moment_make_one_job(
    jobs: JobQueue, redis: "Redis", redis_url: str
) -> None:
    def submit(number: int) -> str:
        own = JobQueue(connect(redis_url))
        return own.submit("merge", {}, model=MODEL, name=f"name-{number % 4}").id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(submit, range(24)))

    assert len(ids) == 1
    assert queued(redis) == list(ids)
    assert jobs.names(jobs.get(ids.pop())) == {"name-0", "name-1", "name-2", "name-3"}


@pytest.mark.parametrize("ending", ["succeeded", "failed", "cancelled", "about to be cancelled"])
def test_a_job_that_is_ending_is_not_joined(jobs: JobQueue, ending: str) -> None:
    first = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "w")
    if ending == "succeeded":
        jobs.finish(first, "succeeded")
    elif ending == "failed":
        jobs.finish(first, "failed", error=JobError(type="internal", detail="broken"))
    else:
        jobs.cancel(first.id)
        if ending == "cancelled":
            jobs.finish(first, "cancelled")

    assert jobs.submit("merge", {}, model=MODEL).id != first.id


def test_what_gateway_and_worker_write_at_the_same_moment_is_all_kept(jobs: JobQueue, redis_url: str) -> None:
    job = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "w")

    def report(done: int) -> None:
        JobQueue(connect(redis_url)).report(job, Progress(bytes_done=done, bytes_total=100))

    with ThreadPoolExecutor(8) as pool:
        reports = [pool.submit(report, done) for done in range(1, 41)]
        assert jobs.cancel(job.id).cancel_requested
    for done in reports:
        done.result()

    assert jobs.get(job.id).cancel_requested
    assert not jobs.wanted(job)
    assert len([event for event in jobs.events(job.id) if event.type == "progress"]) == 40


def test_an_attempt_that_comes_back_to_life_changes_nothing(jobs: JobQueue) -> None:
    job_id = jobs.submit("merge", {}, model=MODEL).id
    stale = jobs.start(job_id, "first")
    now = jobs.start(job_id, "second")
    jobs.report(now, Progress(bytes_done=7, bytes_total=10))

    jobs.report(stale, Progress(bytes_done=9, bytes_total=10))
    jobs.finish(stale, "failed", error=JobError(type="internal", detail="its staging is gone"))
    jobs.give_back(stale)

    found = jobs.get(job_id)
    assert (found.state, found.attempt, found.worker) == ("running", 2, "second")
    assert found.progress.bytes_done == 7
    assert not jobs.wanted(stale)
    assert jobs.wanted(now)
    assert stale.staging != now.staging


def test_a_finished_job_keeps_its_state(jobs: JobQueue) -> None:
    job = jobs.start(jobs.submit("import", {}).id, "w")
    jobs.finish(job, "succeeded", model=MODEL)

    jobs.finish(job, "failed")
    jobs.report(job, Progress(bytes_done=1, bytes_total=2))
    assert jobs.start(job.id, "w").attempt == 1
    assert jobs.cancel(job.id).state == "succeeded"

    found = jobs.get(job.id)
    assert (found.state, found.model, found.cancel_requested) == ("succeeded", MODEL, False)
    assert states(jobs, job.id) == ["queued", "running", "succeeded"]


def test_pages_go_through_all_jobs_of_a_kind_newest_first(jobs: JobQueue) -> None:
    merges = [jobs.submit(kind, {}).id for _ in range(5) for kind in ("import", "merge")][1::2]
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = jobs.page(_is_merge, cursor, 2)
        seen += [job.id for job in page]
        if cursor is None:
            break

    assert seen == merges[::-1]
    with pytest.raises(UnknownJob):
        jobs.page(_is_merge, "j_0000000000000000", 2)


def _is_merge(job: Job) -> bool:
    return job.kind == "merge"


def test_what_somebody_waits_for_goes_before_sweeps_in_the_order_it_came(
    jobs: JobQueue, redis: "Redis"
) -> None:
    first = jobs.submit("merge", {})
    swept = [jobs.submit("merge", {}, priority="sweep").id for _ in range(3)]
    later = [jobs.submit("merge", {}).id for _ in range(3)]

    assert queued(redis) == [first.id, *later, *swept]


def test_a_full_queue_takes_no_new_job_but_lets_requests_join(redis: "Redis") -> None:
    jobs = JobQueue(redis, limit=2)
    first = jobs.submit("merge", {}, model=MODEL)
    jobs.submit("merge", {})

    with pytest.raises(QueueFull, match="limit of 2"):
        jobs.submit("merge", {})
    assert jobs.submit("merge", {}, model=MODEL).id == first.id
    assert len(queued(redis)) == 2
    jobs.cancel(first.id)
    jobs.submit("merge", {})


def test_the_event_log_can_be_read_on_from_any_event(jobs: JobQueue) -> None:
    job = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "w")
    for done in range(5):
        jobs.report(job, Progress(bytes_done=done, bytes_total=5))
    events = jobs.events(job.id)

    assert [event.id for event in events] == sorted({event.id for event in events})
    for index, event in enumerate(events):
        assert jobs.events(job.id, event.id) == events[index + 1 :]
    with pytest.raises(UnknownJob):
        jobs.events("j_0000000000000000")


def test_a_job_that_rq_has_lost_is_queued_again(jobs: JobQueue, redis: "Redis") -> None:
    job = jobs.submit("merge", {}, model=MODEL)
    RqJob.fetch(job.id, connection=redis, serializer="json").delete()
    assert queued(redis) == []

    jobs.reconcile()
    jobs.reconcile()

    assert queued(redis) == [job.id]


def test_a_job_that_rq_has_queued_again_is_shown_as_queued_and_can_be_cancelled(jobs: JobQueue) -> None:
    job = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "w")

    jobs.reconcile()

    assert states(jobs, job.id) == ["queued", "running", "queued"]
    assert jobs.cancel(job.id).state == "cancelled"


@pytest.mark.parametrize(("asked", "state"), [(False, "failed"), (True, "cancelled")])
def test_a_job_that_rq_has_given_up_ends(jobs: JobQueue, redis: "Redis", asked: bool, state: str) -> None:
    job = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "w")
    if asked:
        jobs.cancel(job.id)
    RqJob.fetch(job.id, connection=redis, serializer="json").set_status(JobStatus.FAILED)

    jobs.reconcile()

    assert jobs.get(job.id).state == state
    assert (jobs.get(job.id).error is None) == asked


def test_a_finished_job_is_no_longer_being_taken(jobs: JobQueue, redis: "Redis") -> None:
    """As when Redis died before it had on disk that the worker had it."""
    finished, running = (
        jobs.start(jobs.submit("merge", {}, model=model).id, "w") for model in (MODEL, OTHER)
    )
    redis.rpush(f"rq:queue:{QUEUE}:intermediate", finished.id, running.id)
    jobs.finish(finished, "succeeded")

    jobs.reconcile()

    assert redis.lrange(f"rq:queue:{QUEUE}:intermediate", 0, -1) == [running.id.encode()]


def test_whatever_is_kept_of_a_job_expires(jobs: JobQueue, redis: "Redis") -> None:
    job = jobs.submit("merge", {}, model=MODEL, name="one")
    jobs.submit("merge", {}, model=MODEL, name="two")
    jobs.finish(jobs.start(job.id, "w"), "succeeded")

    kept = [text(key) for key in redis.keys("polymerge:*")]
    assert {key for key in kept if redis.ttl(key) < 0} == {"polymerge:jobs", "polymerge:counts"}
    assert len(kept) == 6
