"""A process that is killed anywhere while it publishes a model leaves the whole model or none."""

from pathlib import Path
from typing import Any

from redis import Redis

from service.contracts.model import Manifest
from service.models import annotations, registry, small_files, store
from service.models.intact import read_through
from service.models.registry import Registry
from service.models.store import Store
from service.sources.files import hash_file
from tests.builders.killed import dies_at
from tests.service.models.test_store import MODEL, manifest

_PUBLISHING = {module.__file__ for module in (annotations, registry, small_files, store)}


def test_killed_at_any_line_of_a_commit_the_model_is_whole_or_absent_and_a_second_try_mends_it(
    redis: "Redis", redis_url: str, tmp_path: Path
) -> None:
    seen = []
    for line in range(1, 1000):
        redis.flushdb()
        root = tmp_path / str(line)
        killed = _publish_and_die(root, redis_url, line)
        found = Registry(Store(root), redis)

        there = found.store.has(MODEL)
        listed = [model.id for model in found.models()] == [MODEL]
        if there:
            read_through(found.store.manifest(MODEL), found.store.path(MODEL))
        assert there or not listed
        # The index follows the store without the worker, as after a restart of the gateway.
        assert found.reindex() == there
        # And with it, when the job is given to another one; the lock of the dead one would run out.
        redis.delete("polymerge:lock:alias:best")
        _publish(root, redis_url)
        assert found.get("best").id == MODEL
        read_through(found.store.manifest(MODEL), found.store.path(MODEL))
        assert found.store.staged() == []
        seen.append((there, listed))
        if not killed:
            break

    assert seen == sorted(seen)
    assert set(seen) == {(False, False), (True, False), (True, True)}
    assert len(seen) > 60


def _publish(root: Path, redis_url: str) -> None:
    """What a worker does when its merge is done."""
    found = Registry(Store(root), Redis.from_url(redis_url))
    folder = found.store.stage("j_0000000000000001.1")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    files = {path.name: hash_file(path) for path in folder.iterdir()}
    found.store.commit(folder, described(files))
    found.add(found.store.manifest(MODEL), ["best"])


def described(files: dict[str, Any]) -> Manifest:
    return manifest().model_copy(update={"files": files})


def _publish_and_die(root: Path, redis_url: str, line: int) -> bool:
    """_publish() in a process that kills itself before the given line of ours; False when there are fewer."""
    return dies_at(line, _PUBLISHING, lambda: _publish(root, redis_url))
