"""What the store can do without: the trash, and work in staging that nobody goes on with."""

import time
from collections.abc import Iterator
from pathlib import Path

from service.contracts.store import Garbage, GarbageItem
from service.jobs.queue import JobQueue, UnknownJob
from service.models.store import Store, folder_bytes

_ABANDONED_SECONDS = 3600.0
"""Work that belongs to no job we know is abandoned when nothing in it has changed for so long."""


def clean(store: Store, jobs: JobQueue, trash_older_than: float, dry_run: bool) -> Garbage:
    """Delete, or only list, what was put into the trash so many seconds ago and work that was abandoned."""
    items = []
    for name in _old_trash(store, trash_older_than):
        items.append(GarbageItem(path=f"trash/{name}", size_bytes=store.trash_bytes(name)))
        if not dry_run:
            store.empty_trash(name)
    for path in _abandoned(store, jobs):
        size = folder_bytes(path) if path.is_dir() else path.stat().st_size
        items.append(GarbageItem(path=f"staging/{path.name}", size_bytes=size))
        if not dry_run:
            store.discard(path.name)
    for orphan, size in list(store.orphans()):
        items.append(GarbageItem(path=orphan, size_bytes=size))
        if not dry_run:
            store.reclaim(orphan)
    if not dry_run:
        _forget_annotations(store)
    return Garbage(dry_run=dry_run, items=items, size_bytes=sum(item.size_bytes for item in items))


def _old_trash(store: Store, seconds: float) -> list[str]:
    return [name for name in store.trashed() if time.time() - store.trashed_at(name).timestamp() >= seconds]


def _abandoned(store: Store, jobs: JobQueue) -> Iterator[Path]:
    for path in sorted(store.staging("").iterdir()):
        job_id, _, attempt = path.name.partition(".")
        try:
            job = jobs.get(job_id)
        except UnknownJob:
            if time.time() - _last_change(path) >= _ABANDONED_SECONDS:
                yield path
            continue
        if job.finished or int(attempt) < job.attempt:
            yield path


def _last_change(path: Path) -> float:
    try:
        return max(found.stat().st_mtime for found in [path, *path.rglob("*")])
    except FileNotFoundError:
        # Files come and go: somebody is at work there.
        return time.time()


def _forget_annotations(store: Store) -> None:
    """Of models that are neither there nor in the trash any more."""
    trashed = {name.split(".")[2] for name in store.trashed()}
    for model_id in store.annotations.annotated() - trashed:
        if not store.has(model_id):
            store.annotations.forget(model_id)
