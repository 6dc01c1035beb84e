"""Models pushed by a real worker with the hub's real client, to a stand-in for the hub on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from clients import Polymerge
from clients.sdk.errors import JobFailed, ProblemError
from service.contracts.job import JobError
from tests.builders.gateway_process import running_gateway
from tests.builders.hub import READER, WRITER, Fault, Hub
from tests.builders.merge_site import MergeSite, job_process, until

PUSHING = {"POLYMERGE_HUB_PUSH": "1"}


class Place:
    """Close it."""

    def __init__(self, site: MergeSite) -> None:
        self.site, self.hub, self._open = site, Hub(), ExitStack()
        self.address = self._open.enter_context(self.hub.running())
        _, url = self._open.enter_context(running_gateway(site.redis.url, site.data, **PUSHING))
        self.api = self._open.enter_context(Polymerge(url))
        self.model = site.add("tiny", {"w": torch.ones(400, 500)})

    def start_worker(self, token: str) -> None:
        self.site.stop_workers()
        self.token = token
        # The other transfer, Xet, is a protocol of its own, between a compiled library and its servers.
        hub = {"HF_ENDPOINT": self.address, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
        self.worker = self.site.start_worker(**PUSHING, **hub)

    def push(
        self, repository: str, model: str = "tiny", *, private: bool = False, revision: str = "main"
    ) -> str:
        job = self.api.models.push(model, repository, private=private, revision=revision)
        return str(self.api.jobs.wait(job.id, timeout=60).url)

    def command(self, *arguments: str) -> str:
        """What `polymerge` prints on standard output."""
        program = [sys.executable, "-c", "from clients.cli import app; app()", *arguments]
        environment = os.environ | {"POLYMERGE_URL": self.api.base_url}
        return subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout

    def refused(self, repository: str, model: str = "tiny") -> JobError:
        with pytest.raises(JobFailed) as failed:
            self.push(repository, model)
        assert failed.value.job.error is not None
        return failed.value.job.error

    def stored(self, model: str) -> dict[str, bytes]:
        folder = self.site.store.path(model)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def pushed(self, repository: str, branch: str = "main") -> dict[str, bytes]:
        found = dict(self.hub.repositories[repository].branches[branch])
        del found[".gitattributes"]
        return found

    def close(self) -> None:
        self._open.close()
        self.site.close()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(MergeSite(tmp_path_factory.mktemp("site")))
    place.start_worker(WRITER)
    yield place
    place.close()


@pytest.fixture
def place(everything: Place) -> Iterator[Place]:
    """With an empty hub, and afterwards again a worker that may write."""
    everything.hub.repositories.clear()
    everything.hub.objects.clear()
    everything.hub.asked.clear()
    yield everything
    if everything.token != WRITER:
        everything.start_worker(WRITER)


def test_the_hub_has_what_the_store_has_a_merges_card_included(place: Place) -> None:
    merge = place.site.finished(place.site.merge("quick", name="merged"))

    told = place.command("push", "merged", "team/merged", "--private")
    place.push("team/merged", "merged", revision="v1")

    assert told.startswith(f"{place.address}/team/merged/commit/")
    stored = place.stored(str(merge.model))
    assert b"# Merge of 4 models by ties" in stored["README.md"]
    assert place.pushed("team/merged") == place.pushed("team/merged", "v1") == stored
    assert place.hub.repositories["team/merged"].private
    assert len(place.hub.uploads()) == 1


def test_a_repository_that_exists_is_written_over_unless_another_model_is_in_it(place: Place) -> None:
    place.push("team/tiny")
    place.push("team/tiny")
    assert place.pushed("team/tiny") == place.stored(place.model)
    place.hub.repositories["team/tiny"].branches["main"]["model-00001-of-00002.safetensors"] = b"other"

    error = place.refused("team/tiny")

    assert error.type == "push-failed"
    assert "such as model-00001-of-00002.safetensors" in error.detail


def test_what_passes_is_tried_again_and_nothing_is_sent_twice(place: Place) -> None:
    place.hub.faults += [
        Fault("POST /api/repos/create", status=503),
        Fault("PUT /lfs/", received=100_000),
        Fault("PUT /lfs/", status=500),
        Fault("POST .*/commit/main", status=502),
    ]

    place.push("team/tiny")

    assert place.hub.faults == []
    assert place.pushed("team/tiny") == place.stored(place.model)
    assert len(place.hub.uploads()) == 1


def test_a_push_that_is_killed_goes_on_without_sending_again_what_the_hub_has(place: Place) -> None:
    place.hub.faults.append(Fault("POST .*/commit/main", status=503, times=2))
    job = place.api.models.push("tiny", "team/tiny")
    until(lambda: any("/commit/" in line for line in place.hub.asked))

    place.site.kill(job_process(place.worker).pid)

    assert place.api.jobs.wait(job.id, timeout=90).attempt == 2
    assert place.pushed("team/tiny") == place.stored(place.model)
    assert len(place.hub.uploads()) == 1


def test_a_push_that_waits_for_the_hub_is_cancelled(place: Place) -> None:
    place.hub.faults.append(Fault("POST /api/repos/create", status=503, times=3))
    job = place.api.models.push("tiny", "team/tiny")
    until(lambda: len(place.hub.asked) == 2)

    place.api.jobs.cancel(job.id)

    assert place.site.finished(job).state == "cancelled"
    place.hub.faults.clear()
    assert place.hub.repositories == {}


def test_a_damaged_model_is_found_out_before_the_hub_is_asked(place: Place) -> None:
    model = place.site.add("rotten", {"w": torch.ones(4, 5)})
    weights = place.site.store.path(model) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    error = place.refused("team/rotten", "rotten")

    assert error.type == "damaged-source"
    assert "model.safetensors has other bytes" in error.detail
    assert place.hub.asked == []
    with pytest.raises(ProblemError, match="out of service"):
        place.push("team/rotten", "rotten")


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "a/b--c", "../tiny", "https://hub/tiny"])
def test_only_names_that_the_hub_takes_get_into_the_queue(place: Place, name: str) -> None:
    answer = place.api._connection
    with pytest.raises(ProblemError) as error:
        answer.send("POST", "/models/tiny/push", body=f'{{"repository": "{name}"}}')
    assert error.value.problem.status == 422


@pytest.mark.parametrize(("token", "told"), [("hf_unknown", "401"), (READER, "403")])
def test_a_token_that_will_not_do_is_told_and_not_shown(place: Place, token: str, told: str) -> None:
    place.start_worker(token)

    error = place.refused("team/tiny")

    assert error.type == "push-failed"
    assert told in error.detail
    assert token not in error.detail
    assert "team/tiny" not in place.hub.repositories


def test_without_the_setting_nothing_is_pushed(place: Place) -> None:
    with (
        running_gateway(place.site.redis.url, place.site.data) as (_, url),
        Polymerge(url) as closed,
        pytest.raises(ProblemError, match="POLYMERGE_HUB_PUSH"),
    ):
        closed.models.push("tiny", "team/tiny")


def test_an_upload_that_is_refused_does_not_show_where_anybody_could_upload(place: Place) -> None:
    place.hub.faults.append(Fault("PUT /lfs/.*Signature=secret", status=400))

    error = place.refused("team/tiny")

    assert error.detail == "the hub answered 400: not now"
