"""The model store: a model is there whole or not at all."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.contracts.model import FileEntry, Manifest
from service.models.store import MANIFEST, Store

MODEL = "m_00000000000000aa"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def manifest(ident: str = MODEL) -> Manifest:
    return Manifest(
        id=ident,
        kind="import",
        content_digest="0" * 64,
        files={"config.json": FileEntry(size=2, sha256="0" * 64)},
        tensors={},
        size_bytes=2,
        created_at=datetime.now(UTC),
    )


def staged(store: Store, work: str, content: str = "{}") -> Path:
    folder = store.stage(work)
    (folder / "config.json").write_text(content)
    return folder


def test_a_model_is_there_once_it_is_committed_and_not_before(store: Store) -> None:
    folder = staged(store, "j_1.1")
    assert not store.has(MODEL)
    assert list(store.manifests()) == []

    store.commit(folder, manifest())

    assert store.has(MODEL)
    assert store.manifest(MODEL).files == manifest().files
    assert (store.path(MODEL) / "config.json").read_text() == "{}"
    assert store.staged() == []


def test_committing_a_model_twice_keeps_the_first_and_leaves_nothing_behind(store: Store) -> None:
    store.commit(staged(store, "j_1.1", "first"), manifest())
    store.commit(staged(store, "j_2.1", "second"), manifest())

    assert (store.path(MODEL) / "config.json").read_text() == "first"
    assert store.staged() == []


def test_a_commit_that_broke_off_before_its_rename_published_nothing(store: Store) -> None:
    folder = staged(store, "j_1.1")
    (folder / MANIFEST).write_text(manifest().model_dump_json())

    assert not store.has(MODEL)
    assert store.staged() == ["j_1.1"]
    store.commit(staged(store, "j_1.2"), manifest())
    assert store.has(MODEL)


def test_an_attempt_whose_staging_was_discarded_cannot_publish(store: Store) -> None:
    folder = staged(store, "j_1.1")
    store.discard("j_1.1")

    with pytest.raises(FileNotFoundError):
        store.commit(folder, manifest())
    assert not store.has(MODEL)


def test_staging_begins_empty(store: Store) -> None:
    staged(store, "j_1.1")

    assert list(store.stage("j_1.1").iterdir()) == []


def test_a_damaged_manifest_hides_its_model_and_no_other(store: Store) -> None:
    other = "m_00000000000000bb"
    for ident in (MODEL, other):
        store.commit(staged(store, "j_1.1"), manifest(ident))
    (store.path(MODEL) / MANIFEST).write_text('{"id": "m_')

    assert [found.id for found in store.manifests()] == [other]


def test_an_alias_moves_and_its_history_tells_from_where(store: Store) -> None:
    other = "m_00000000000000bb"
    for target in (MODEL, MODEL, other, None):
        store.annotations.point("best", target)

    assert store.annotations.aliases() == {}
    assert [move.model for move in store.annotations.history("best")] == [MODEL, other, None]
    assert list((store.root / "staging").iterdir()) == []


def test_what_is_removed_can_be_restored_until_the_trash_is_emptied(store: Store) -> None:
    store.commit(staged(store, "j_1.1"), manifest())

    store.remove(MODEL)
    assert (store.has(MODEL), list(store.manifests())) == (False, [])
    assert store.restore(MODEL)
    assert (store.path(MODEL) / "config.json").read_text() == "{}"

    store.remove(MODEL)
    for name in store.trashed():
        store.empty_trash(name)
    assert not store.restore(MODEL)
    assert store.used_bytes() == 0


def test_a_damaged_model_is_replaced_when_it_is_made_again(store: Store) -> None:
    store.commit(staged(store, "j_1.1", "rotten"), manifest())
    store.annotations.set_damage(MODEL, "config.json has other bytes than it had")
    assert store.written(MODEL)
    assert not store.sound(MODEL)

    store.commit(staged(store, "j_2.1", "fresh"), manifest())

    assert store.sound(MODEL)
    assert (store.path(MODEL) / "config.json").read_text() == "fresh"
    assert len(store.trashed()) == 1
