"""Copies files of a source into staging, hashing what is written, and notices when the source changes."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from service.contracts.model import FileEntry
from service.recipes.refusal import refuse

_CHUNK = 4 * 1024 * 1024


def copy_files(
    files: Mapping[str, Path], target: Path, copied: Callable[[int], None] = lambda _: None
) -> dict[str, FileEntry]:
    """Copy each file into `target` under its name; `copied` hears the bytes done so far, and may raise.

    Raises Refused at /source when a file has changed meanwhile, and OSError.
    """
    before = {name: _state(path) for name, path in files.items()}
    entries: dict[str, FileEntry] = {}
    done = 0
    for name, path in files.items():
        digest = hashlib.sha256()
        size = 0
        with path.open("rb") as source, (target / name).open("wb") as copy:
            while chunk := source.read(_CHUNK):
                copy.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                copied(done + size)
        done += size
        entries[name] = FileEntry(size=size, sha256=digest.hexdigest())
    # All of them at the end: shards belong together.
    for name, path in files.items():
        if _state(path) != before[name] or entries[name].size != before[name][0]:
            raise refuse(
                "source", detail=f"'{name}' changed while it was copied; import it when it is complete"
            )
    return entries


def _state(path: Path) -> tuple[int, int, int, int]:
    """Size first; a file written to or replaced has another state."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
