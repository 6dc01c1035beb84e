"""Models in a bucket: whole or not there, the same for every host, and safe from what breaks."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from service.bucket.away import BucketAway
from service.bucket.blobs import blob
from service.bucket.objects import Objects
from service.bucket.store import BucketStore
from service.contracts.model import Manifest
from service.models.intact import Damaged, check_contents, check_sizes, check_whole
from service.models.store import Store
from service.models.verification import find_damage
from service.sources.files import content_digest, hash_file
from tests.builders.free_port import free_port
from tests.service.bucket.conftest import Host
from tests.service.models.test_store import MODEL, manifest

OTHER = "m_00000000000000bb"
WEIGHTS = "model.safetensors"
LARGE = 40 * 1024 * 1024 + 1


class Watcher:
    """Counts bytes; stops everything once `most` are done."""

    def __init__(self, most: int | None = None) -> None:
        self.total, self.done, self._most = 0, 0, most

    def expect(self, total: int) -> None:
        self.total += total

    def add(self, count: int) -> None:
        self.done += count

    def check(self) -> None:
        if self._most is not None and self.done >= self._most:
            raise InterruptedError("cancelled")


class Killer(Watcher):
    """Kills its process when some of the bytes are done."""

    def check(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def staged(store: Store, weights: bytes, model: str = MODEL) -> tuple[Path, Manifest]:
    folder = store.stage(f"j_{model}.1")
    (folder / "config.json").write_text('{"max_position_embeddings": 64}')
    (folder / WEIGHTS).write_bytes(weights)
    files = {path.name: hash_file(path) for path in folder.iterdir()}
    described = {"files": files, "content_digest": content_digest(files)}
    return folder, manifest(model).model_copy(update=described)


def commit(store: Store, weights: bytes = b"weights", model: str = MODEL) -> Manifest:
    folder, described = staged(store, weights, model)
    store.commit(folder, described)
    return described


def test_what_one_host_commits_another_one_has(host: Host) -> None:
    here, there = host("here"), host("there")
    assert not there.has(MODEL)
    described = commit(here)

    assert there.has(MODEL)
    assert there.written(MODEL)
    assert list(there.manifests()) == [described]
    light = there.path(MODEL)
    assert (light / "config.json").is_file()
    assert not (light / WEIGHTS).exists()
    assert there.file(MODEL, WEIGHTS).read_bytes() == b"weights"

    whole = there.fetch(MODEL)
    assert there.path(MODEL) == whole
    check_contents(described, whole)
    first = (whole / WEIGHTS).stat().st_ino
    assert (there.fetch(MODEL) / WEIGHTS).stat().st_ino == first
    assert there.staged() == here.staged() == []


def test_of_two_that_make_the_same_model_at_once_the_first_wins_and_the_other_has_what_it_made(
    host: Host,
) -> None:
    here, there = host("here"), host("there")
    commit(here, b"weights")
    commit(there, b"weightz")
    commit(host("third"), b"weights")

    assert (there.fetch(MODEL) / WEIGHTS).read_bytes() == b"weights"
    assert there.manifest(MODEL) == here.manifest(MODEL) == host("third").manifest(MODEL)


def test_files_that_the_bucket_has_are_not_sent_again(host: Host) -> None:
    commit(host("here"), b"w" * 1000)
    folder, described = staged(host("there"), b"w" * 1000, OTHER)
    watch = Watcher()

    host("there").commit(folder, described, watch)

    assert (watch.total, watch.done) == (0, 0)
    assert host("here").has(OTHER)


def test_a_large_file_goes_in_parts_and_may_be_stopped_on_the_way(host: Host, objects: Objects) -> None:
    here = host("here")
    folder, described = staged(here, os.urandom(LARGE))

    with pytest.raises(InterruptedError):
        here.commit(folder, described, Watcher(most=1))
    assert not here.has(MODEL)
    assert list(objects.unfinished()) == []

    watch = Watcher()
    here.commit(folder, described, watch)
    assert watch.done == watch.total >= LARGE
    with pytest.raises(InterruptedError):
        host("there").fetch(MODEL, Watcher(most=LARGE // 2))
    check_contents(described, host("there").fetch(MODEL))
    assert host("there").staged() == []


def test_parts_of_a_killed_upload_are_given_up_and_the_next_try_is_whole(
    host: Host, objects: Objects
) -> None:
    here = host("here")
    folder, described = staged(here, os.urandom(LARGE))
    child = os.fork()
    if child == 0:
        try:
            BucketStore(here.root, Objects(objects.address)).commit(folder, described, Killer())
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    ((key, upload, _),) = objects.unfinished()

    assert f"uploads/{key}/{upload}" in [path for path, _ in here.orphans()]
    here.reclaim(f"uploads/{key}/{upload}")

    assert list(objects.unfinished()) == []
    assert not here.has(MODEL)
    here.commit(folder, described)
    here.audit(described)


def test_a_copy_whose_making_was_killed_is_made_by_the_next_process(host: Host, objects: Objects) -> None:
    described = commit(host("here"), os.urandom(LARGE))
    child = os.fork()
    if child == 0:
        try:
            BucketStore(host("there").root, Objects(objects.address)).fetch(MODEL, Killer())
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    there = host("there")
    assert len(there.staged()) == 1

    check_contents(described, there.fetch(MODEL))

    assert there.staged() == []
    assert {path.name for path in there.path(MODEL).iterdir()} == {"config.json", WEIGHTS, "manifest.json"}


def test_bytes_that_changed_in_the_bucket_are_found_and_a_new_import_mends_them(
    host: Host, objects: Objects
) -> None:
    here, there = host("here"), host("there")
    described = commit(here)
    objects.put(blob(described.files[WEIGHTS]), b"weightz")

    damage = find_damage(there, MODEL)
    assert damage == f"model {MODEL} is damaged: {WEIGHTS} has other bytes in the bucket than it had"
    with pytest.raises(Damaged):
        there.fetch(MODEL)
    there.annotations.set_damage(MODEL, damage)
    assert not here.sound(MODEL)

    commit(there)

    assert here.sound(MODEL)
    assert find_damage(here, MODEL) is None
    assert (host("third").fetch(MODEL) / WEIGHTS).read_bytes() == b"weights"


def test_a_copy_that_went_bad_is_replaced_and_the_model_stays_in_service(host: Host) -> None:
    here = host("here")
    commit(here)
    weights = here.path(MODEL) / WEIGHTS
    weights.write_bytes(b"short")

    check_whole(here, MODEL, check_sizes)
    assert weights.read_bytes() == b"weights"

    weights.write_bytes(b"weightz")
    assert find_damage(here, MODEL) is None
    check_whole(here, MODEL, check_contents)
    assert (here.path(MODEL) / WEIGHTS).read_bytes() == b"weights"


def test_a_virtual_model_that_gets_written_is_written_for_every_host(host: Host) -> None:
    here, there = host("here"), host("there")
    folder = here.stage("virtual")
    (folder / "config.json").write_text("{}")
    files = {"config.json": hash_file(folder / "config.json")}
    here.commit(folder, manifest().model_copy(update={"virtual": True, "files": files}))
    assert there.path(MODEL).parent.name == "virtual"
    assert (there.has(MODEL), there.written(MODEL)) == (True, False)

    described = commit(there)

    assert here.written(MODEL)
    assert here.manifest(MODEL) == described
    assert [found.virtual for found in here.manifests()] == [False]
    assert (here.fetch(MODEL) / WEIGHTS).is_file()


def test_the_trash_of_one_host_is_that_of_all(host: Host) -> None:
    here, there = host("here"), host("there")
    described = commit(here)

    there.remove(MODEL)
    assert not here.has(MODEL)
    assert list(here.manifests()) == []
    assert here.trashed() == there.trashed() != []

    assert here.restore(MODEL)
    assert there.trashed() == []
    check_contents(described, there.fetch(MODEL))


def test_a_model_that_was_deleted_and_made_again_elsewhere_replaces_the_copy(host: Host) -> None:
    here, there = host("here"), host("there")
    commit(here, b"weights")
    there.fetch(MODEL)
    here.remove(MODEL)
    commit(here, b"weightz")

    assert (there.fetch(MODEL) / WEIGHTS).read_bytes() == b"weightz"
    assert there.manifest(MODEL) == here.manifest(MODEL)


def test_only_old_files_that_no_model_has_are_orphans(host: Host) -> None:
    here = host("here")
    shared, own = commit(here, b"shared"), commit(here, b"own", OTHER)
    here.remove(OTHER)
    eager = host("there", orphaned=timedelta(0))
    assert list(eager.orphans()) == []
    (trashed,) = here.trashed()

    here.empty_trash(trashed)

    assert list(here.orphans()) == []
    orphan = blob(own.files[WEIGHTS])
    assert list(eager.orphans()) == [(orphan, 3)]
    eager.reclaim(orphan)
    assert list(eager.orphans()) == []
    check_contents(shared, host("third").fetch(MODEL))


def test_notes_and_aliases_are_the_buckets(host: Host) -> None:
    here, there = host("here"), host("there")
    commit(here)
    here.annotations.point("best", MODEL)
    here.annotations.point("best", None)
    here.annotations.point("good", MODEL)

    assert there.annotations.aliases() == {"good": MODEL}
    assert [move.model for move in there.annotations.history("best")] == [MODEL, None]


def test_a_bucket_that_is_away_says_nothing_about_its_models(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = commit(host("here"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    away = BucketStore(tmp_path / "here", Objects("s3://models/team"))

    with pytest.raises(BucketAway, match="can't be reached"):
        find_damage(away, described.id)


def test_without_a_bucket_the_gateway_does_without_boto3() -> None:
    code = "import service.app, service.models.open_store, sys; print('boto3' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == "False\n"
