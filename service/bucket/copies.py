"""Brings models from the bucket into the store's folder, each file compared with its digest."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from service.bucket.objects import Objects
from service.contracts.model import Manifest
from service.intact import Damaged
from service.small_files import sync

_AT_ONCE = 4
"""Files that are downloaded at a time."""


def blob(sha256: str) -> str:
    """The key of a file with this content."""
    return f"blobs/{sha256}"


def bring(
    objects: Objects, manifest: Manifest, names: Iterable[str], folder: Path, read: Callable[[int], None]
) -> None:
    """The model's files of these names into `folder`; those that are there since this broke off are kept.

    `read` hears of bytes, from any thread, and may raise. Raises BucketAway, Damaged, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            list(threads.map(lambda name: _download(objects, manifest, name, folder / name, read), names))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _download(
    objects: Objects, manifest: Manifest, name: str, path: Path, read: Callable[[int], None]
) -> None:
    entry = manifest.files[name]
    if path.is_file():
        read(entry.size)
        return
    partial, digest = path.with_name(f"{name}.part"), hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for chunk in objects.stream(blob(entry.sha256)):
                file.write(chunk)
                digest.update(chunk)
                read(len(chunk))
        if digest.hexdigest() != entry.sha256:
            raise Damaged(manifest.id, f"{name} has other bytes in the bucket than it had")
        sync(partial)
        os.replace(partial, path)
    except FileNotFoundError:
        raise Damaged(manifest.id, f"{name} is missing in the bucket") from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process of this host at a time; a process that dies lets the next one in."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
