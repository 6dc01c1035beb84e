"""sha256 of source files, read once: they are kept in the user's cache while the files do not change."""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from service.contracts.model import FileEntry
from service.sources.files import hash_file
from workers.local_merge.display import Progress

_SHA256 = re.compile(r"[0-9a-f]{64}")


def stamp(path: Path) -> FileEntry:
    """What stands for the digest while nothing has been read: it changes when the file does."""
    status = path.stat()
    state = (path.resolve(), status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
    return FileEntry(size=status.st_size, sha256=hashlib.sha256(repr(state).encode()).hexdigest())


def digests(
    paths: Iterable[Path], progress: Progress, meanwhile: Callable[[], object]
) -> dict[Path, FileEntry]:
    """Of each file. Those that must be read are read by other threads while `meanwhile` runs in this one."""
    files = set(paths)
    found = {path: entry for path in files if (entry := _known(path))}
    sizes = {path: path.stat().st_size for path in files - found.keys()}
    stopped = threading.Event()

    def read(count: int) -> None:
        if stopped.is_set():
            raise InterruptedError
        progress.add(count)

    with ThreadPoolExecutor() as pool:
        try:
            progress.expect(sum(sizes.values()))
            largest_first = sorted(sizes, key=lambda path: -sizes[path])
            reading = {path: pool.submit(_read, path, read) for path in largest_first}
            meanwhile()
            return found | {path: entry.result() for path, entry in reading.items()}
        finally:
            stopped.set()


def _known(path: Path) -> FileEntry | None:
    """Without reading the file: from the name of the hub's blob, or from our cache."""
    real, mark = path.resolve(), stamp(path)
    if _SHA256.fullmatch(real.name) and real.parent.name == "blobs":
        return FileEntry(size=mark.size, sha256=real.name)
    with suppress(OSError):
        kept = (_cache() / mark.sha256).read_text()
        if _SHA256.fullmatch(kept):
            return FileEntry(size=mark.size, sha256=kept)
    return None


def _read(path: Path, read: Callable[[int], None]) -> FileEntry:
    mark = stamp(path)
    entry = hash_file(path, read)
    with suppress(OSError):
        _cache().mkdir(parents=True, exist_ok=True)
        (_cache() / mark.sha256).write_text(entry.sha256)
    return entry


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polymerge" / "sha256"
