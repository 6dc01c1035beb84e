"""Merge jobs on real workers and a real append-only Redis: what they make, and that nothing kills them."""

import signal
from collections.abc import Iterator

import psutil
import pytest
import torch

from service.contracts.job import Job
from service.recipes.parse import validate_recipe
from service.recipes.stored import plan_stored
from service.sources.files import content_digest, hash_file
from tests.builders.merge_site import MergeSite, job_process, until
from workers.merging.engine import merge
from workers.open_model import open_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MergeSite]:
    site = MergeSite(tmp_path_factory.mktemp("merges"))
    yield site
    site.close()


@pytest.fixture
def site(place: MergeSite) -> Iterator[MergeSite]:
    """Without workers at the end, as at the beginning."""
    yield place
    place.stop_workers()


def test_a_job_reports_its_bytes_and_registers_its_model_under_every_name_asked(site: MergeSite) -> None:
    job = site.merge("quick", name="first")
    assert site.merge_again(job, name="second").id == job.id
    site.start_worker()

    assert_made(site, site.finished(job), attempt=1)

    events = site.jobs.events(job.id)
    states = [event.data["state"] for event in events if event.type == "state"]
    assert states == ["queued", "running", "succeeded"]
    done = [event.data["bytes_done"] for event in events if event.type == "progress"]
    total = site.jobs.get(job.id).progress.bytes_total
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == total > 0
    until(lambda: {"first", "second"} <= set(site.registry.get(str(job.model)).aliases))


def test_killed_workers_jobs_end_well_after_a_restart(site: MergeSite) -> None:
    """One worker is killed alone, another one together with its job."""
    workers = [site.start_worker(), site.start_worker()]
    jobs = [site.halfway(site.merge("slow")), site.halfway(site.merge("slow"))]
    processes = [job_process(worker) for worker in workers]

    site.kill(workers[0].pid, workers[1].pid, processes[1].pid)
    # Orphaned, the first one's job ends by itself: when another worker takes it up, it runs only there.
    until(lambda: not any(alive(process) for process in processes))
    assert len(site.store.staged()) == 2

    site.start_worker()
    for job in jobs:
        assert_made(site, site.finished(job), attempt=2)


def test_a_job_that_dies_every_time_is_given_up(site: MergeSite) -> None:
    worker = site.start_worker()
    job = site.merge("slow")
    for attempt in (1, 2, 3):
        site.halfway(job, attempt)
        site.kill(job_process(worker).pid)

    ended = site.finished(job)

    assert (ended.state, ended.attempt) == ("failed", 3)
    assert ended.error is not None
    assert ended.error.type == "worker-lost"
    assert_nothing_left(site, job)


def test_a_job_goes_on_from_the_files_that_a_killed_attempt_had_finished(
    site: MergeSite,
) -> None:
    worker = site.start_worker()
    job = site.merge("slow")
    staging = site.store.staging(job.staging_of(1))
    until(lambda: len(list(staging.glob("*.finished.json"))) >= 2)
    records = list(staging.glob("*.finished.json"))
    names = [record.name.removesuffix(".finished.json") for record in records]
    inodes = {name: (staging / name).stat().st_ino for name in names}
    site.kill(job_process(worker).pid)

    ended = site.finished(job)

    assert_made(site, ended, attempt=2)
    folder = site.store.path(str(job.model))
    assert {name: (folder / name).stat().st_ino for name in inodes} == inodes
    plan = plan_stored(validate_recipe(job.request["recipe"]), site.store, seed=0)
    weights = {ref: open_model(site.store.path(ref)) for ref in plan.models}
    found = open_model(folder)
    for name, tensor in merge(plan, weights, threads=2):
        assert torch.equal(found.read(name, 0, len(tensor)), tensor)


def test_a_job_outlives_a_killed_redis(site: MergeSite) -> None:
    site.start_worker()
    job = site.halfway(site.merge("slow"))

    site.redis.kill()
    site.redis.start()

    assert_made(site, site.finished(job), attempt=1)


def test_a_stopped_worker_gives_its_job_back(site: MergeSite) -> None:
    worker = site.start_worker()
    job = site.halfway(site.merge("slow"))
    process = job_process(worker)

    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0

    assert not alive(process)
    assert site.jobs.get(job.id).state == "queued"
    site.start_worker()
    assert_made(site, site.finished(job), attempt=2)


def test_a_running_job_can_be_cancelled(site: MergeSite) -> None:
    site.start_worker()
    job = site.halfway(site.merge("slow"))

    assert site.jobs.cancel(job.id).cancel_requested

    assert site.finished(job).state == "cancelled"
    assert_nothing_left(site, job)


def test_a_job_cancelled_while_queued_is_never_run(site: MergeSite) -> None:
    job, later = site.merge("quick"), site.merge("quick")

    assert site.jobs.cancel(job.id).state == "cancelled"

    site.start_worker()
    site.finished(later)
    assert (site.jobs.get(job.id).state, site.jobs.get(job.id).attempt) == ("cancelled", 0)
    assert_nothing_left(site, job)


def test_a_job_that_cannot_work_fails_once_and_says_why(site: MergeSite) -> None:
    endless = {"model.layers.0.mlp.up_proj.weight": torch.full((8, 16), float("inf"))}
    site.add("endless", endless)
    short = site.add("short", {name: tensor + 1 for name, tensor in endless.items()})
    jobs = [site.merge("quick", "endless"), site.merge("quick", "short")]
    weights = site.store.path(short) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    site.start_worker()

    ended = [site.finished(job) for job in jobs]

    assert [(job.state, job.attempt) for job in ended] == [("failed", 1), ("failed", 1)]
    errors = [job.error for job in ended if job.error]
    assert [error.type for error in errors] == ["not-finite", "damaged-source"]
    assert "model.layers.0.mlp.up_proj.weight" in errors[0].detail
    assert short in errors[1].detail
    assert site.registry.get(short).state == "damaged"
    for job in jobs:
        assert_nothing_left(site, job)


def assert_made(site: MergeSite, job: Job, attempt: int) -> None:
    """The job has succeeded, and its model is whole and registered."""
    assert (job.state, job.error, job.attempt) == ("succeeded", None, attempt)
    assert job.progress.bytes_done == job.progress.bytes_total
    assert site.registry.get(str(job.model)).id == job.model
    manifest, folder = site.store.manifest(str(job.model)), site.store.path(str(job.model))
    files = {path.name: hash_file(path) for path in folder.iterdir() if path.name != "manifest.json"}
    assert files == manifest.files
    assert content_digest(files) == manifest.content_digest
    assert set(open_model(folder).names()) == set(manifest.tensors)
    assert not [name for name in site.store.staged() if name.startswith(job.id)]


def assert_nothing_left(site: MergeSite, job: Job) -> None:
    """No model, none half-made, and none registered."""
    assert not site.store.has(str(job.model))
    assert job.model not in [model.id for model in site.registry.models()]
    until(lambda: not [name for name in site.store.staged() if name.startswith(job.id)])


def alive(process: psutil.Process) -> bool:
    """A zombie, which only its new parent can put to rest, is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
