"""Two hosts, each with a gateway, a worker and folders of its own, share a store and Redis, nothing else."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import MergeSite, job_process, until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MergeSite]:
    site = MergeSite(tmp_path / "shared")
    yield site
    site.close()


def test_a_host_finishes_what_another_one_began_and_both_see_the_same(
    site: MergeSite, tmp_path: Path
) -> None:
    shared = {"POLYMERGE_STORE": str(site.store.root)}
    recipe = {
        "merge_method": "della",
        "base_model": "slow-0",
        "models": [{"model": "slow-1"}, {"model": "slow-2"}, {"model": "slow-3"}],
        "parameters": {"weight": 0.3, "density": 0.5},
    }
    with ExitStack() as hosts:
        first, url = hosts.enter_context(running_gateway(site.redis.url, tmp_path / "first", **shared))
        worker = site.start_worker(POLYMERGE_DATA=str(tmp_path / "first"), **shared)
        submitted = httpx2.post(f"{url}/merges?name=mixed", json=recipe, trust_env=False).json()
        job = site.halfway(site.jobs.get(submitted["id"]))
        work = job_process(worker)

        site.kill(worker.pid, work.pid, first.pid)
        until(lambda: not psutil.pid_exists(work.pid) or work.status() == psutil.STATUS_ZOMBIE)
        _, other = hosts.enter_context(running_gateway(site.redis.url, tmp_path / "second", **shared))
        site.start_worker(POLYMERGE_DATA=str(tmp_path / "second"), **shared)
        ended = site.finished(job)
        _, again = hosts.enter_context(running_gateway(site.redis.url, tmp_path / "first", **shared))

        assert (ended.state, ended.attempt) == ("succeeded", 2)
        assert httpx2.put(f"{again}/aliases/best", json={"model": "mixed"}, trust_env=False).is_success
        seen = [httpx2.get(f"{host}/models", trust_env=False).json()["items"] for host in (other, again)]
        assert seen[0] == seen[1]
        assert (seen[0][0]["id"], seen[0][0]["aliases"]) == (job.model, ["best", "mixed"])
        checked = httpx2.post(f"{other}/models/best/verify", timeout=60, trust_env=False).json()
        assert checked["state"] == "ready"
        assert site.store.staged() == []
        assert not (tmp_path / "first" / "store").exists()
