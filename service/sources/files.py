"""Files of a model folder by size and sha256, and one digest over all of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from service.contracts.model import FileEntry


def hash_file(path: Path) -> FileEntry:
    """Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileEntry(size=file.tell(), sha256=digest.hexdigest())


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """sha256 in hex over the names and sha256s, in the names' order: equal bytes, equal digest."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()
