"""Before a merge or an engine touches a model: are its files all there, as they were?

A reload that breaks off halfway leaves the engine without weights, so that whatever can be known before is.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from service.contracts.model import Manifest
from service.models.watching import UNWATCHED, Watching
from service.sources.files import hash_file

if TYPE_CHECKING:
    from service.models.store import Store

Check = Callable[[Manifest, Path], None]


class Damaged(ValueError):
    """A file of the model is not as it was."""

    def __init__(self, model_id: str, what: str) -> None:
        super().__init__(f"model {model_id} is damaged: {what}")
        self.model_id = model_id


def check_whole(store: "Store", model_id: str, check: Check, watch: Watching = UNWATCHED) -> None:
    """Have the model and all that it is made of here (an adapter's base, a virtual model's sources).

    Raises Damaged, naming the first file that is missing or is not as it was, or ValueError: no such model.
    `watch` is told of bytes that are brought here.
    """
    try:
        manifest = _check_one(store, model_id, check, watch)
    except FileNotFoundError:
        raise ValueError(f"model {model_id} is gone from the store") from None
    parts = manifest.sources if manifest.virtual else [manifest.base] if manifest.base else []
    for part in parts:
        check_whole(store, part, check, watch)


def _check_one(store: "Store", model_id: str, check: Check, watch: Watching) -> Manifest:
    folder = store.fetch(model_id, watch)
    manifest = store.manifest(model_id)
    try:
        check(manifest, folder)
    except Damaged:
        if not store.drop_copy(model_id):
            raise
        check(manifest, store.fetch(model_id, watch))
    return manifest


def check_sizes(manifest: Manifest, folder: Path) -> None:
    """Raises Damaged, naming the first file that is missing or has another size than in the manifest."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise Damaged(manifest.id, f"{name} is missing")
        if path.stat().st_size != entry.size:
            found = path.stat().st_size
            raise Damaged(manifest.id, f"{name} has {found} bytes, not {entry.size}")


def check_contents(manifest: Manifest, folder: Path) -> None:
    """The same, and that every byte is as it was: a file is read through when it is new or has changed."""
    _check_digests(manifest, folder, _known_sha256)


def read_through(manifest: Manifest, folder: Path) -> None:
    """The same, but every file is read, whatever is known of it: a disk may change bytes by itself."""
    _check_digests(manifest, folder, lambda path: hash_file(path).sha256)


def _check_digests(manifest: Manifest, folder: Path, sha256: Callable[[Path], str]) -> None:
    check_sizes(manifest, folder)
    for name, entry in manifest.files.items():
        if sha256(folder / name) != entry.sha256:
            raise Damaged(manifest.id, f"{name} has other bytes than it had")


def _known_sha256(path: Path) -> str:
    found = path.stat()
    return _sha256(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, inode: int, size: int, changed: int) -> str:
    """Of the file as it is while inode, size and time of change stay the same."""
    return hash_file(path).sha256
