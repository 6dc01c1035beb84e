"""A process that is killed anywhere while it publishes a model leaves all of it in the bucket, or none."""

from functools import partial
from pathlib import Path

from service.bucket import blobs, copies, manifests
from service.bucket import store as bucket_store
from service.bucket.objects import Objects
from service.bucket.store import BucketStore
from service.contracts.model import Manifest
from service.models import store
from service.sources.files import content_digest, hash_file
from tests.builders.killed import dies_at
from tests.builders.s3_server import BUCKET
from tests.service.models.test_store import MODEL, manifest

_PUBLISHING = {module.__file__ for module in (blobs, bucket_store, copies, manifests, store)}
"""Each of their lines asks the bucket for one thing at most."""


def test_killed_at_any_line_of_a_commit_the_model_is_whole_or_absent_and_a_second_try_mends_it(
    s3: None, tmp_path: Path
) -> None:
    seen = []
    for line in range(1, 1000):
        # Not used before the fork: connections must not be shared with it.
        bucket = Objects(f"s3://{BUCKET}/crash-{line}")
        here = BucketStore(tmp_path / f"{line}-here", bucket)
        killed = dies_at(line, _PUBLISHING, partial(_publish, here))

        other = BucketStore(tmp_path / f"{line}-other", bucket)
        there = other.has(MODEL)
        assert [found.id for found in other.manifests()] == ([MODEL] if there else [])
        if there:
            other.audit(other.manifest(MODEL))
        _publish(here)
        other.audit(other.manifest(MODEL))
        assert here.staged() == []
        seen.append(there)
        if not killed:
            break

    assert seen == sorted(seen)
    assert set(seen) == {False, True}
    assert len(seen) > 40


def _publish(store: BucketStore) -> Manifest:
    folder = store.stage("j_0000000000000001.1")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    files = {path.name: hash_file(path) for path in folder.iterdir()}
    described = manifest().model_copy(update={"files": files, "content_digest": content_digest(files)})
    store.commit(folder, described)
    return described
