"""Files of a model folder by size and sha256, a digest over all of them, and the id that follows from it."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from service.contracts.model import FileEntry

_CHUNK = 4 * 1024 * 1024


def hash_file(
    path: Path,
    read: Callable[[int], None] = lambda _: None,
    ready: Callable[[int], None] = lambda _: None,
) -> FileEntry:
    """`read` hears of bytes that were read, every few milliseconds, and may raise to stop. Raises OSError.

    `ready` is asked, before any bytes are read, for those up to a position, and returns when they are there.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        ready(_CHUNK)
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            read(count)
            ready(file.tell() + _CHUNK)
        return FileEntry(size=file.tell(), sha256=digest.hexdigest())


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """sha256 in hex over the names and sha256s, in the names' order: equal bytes, equal digest."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()


def import_id(digest: str, base: str | None = None) -> str:
    """The id of a model that is not a merge: of its content digest, and an adapter's base model's id."""
    return "m_" + hashlib.sha256(f"import\0{base or ''}\0{digest}".encode()).hexdigest()[:16]
