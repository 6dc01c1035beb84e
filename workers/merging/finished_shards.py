"""Shards that are finished, on record beside them, so that a merge which broke off goes on from there.

The record of a shard has its sha256, in the format of sha256sum. Recipe, seed, sources, numerics and layout
need none: they are in the shard's header, which must be the one that would be written now.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from service.contracts.model import FileEntry
from service.sources.files import hash_file
from workers.merging.checkpoint import Shard

_RECORD = ".sha256"


def record_finished(folder: Path, shard: Shard, check: Callable[[], None]) -> FileEntry:
    """Put it on record that the shard will not be written to any more. `check` may raise to stop."""
    entry = hash_file(folder / shard.name, lambda _: check())
    record = folder / (shard.name + _RECORD)
    aside = record.with_suffix(".part")
    aside.write_text(f"{entry.sha256}  {shard.name}\n")
    aside.replace(record)
    return entry


def take_over(
    folder: Path, shards: Sequence[Shard], metadata: Mapping[str, str], check: Callable[[], None]
) -> dict[str, FileEntry]:
    """Those of `shards` that `folder` has finished, each read again; all else in there is removed."""
    found = {shard.name: _verified(folder, shard, metadata, check) for shard in shards}
    finished = {name: entry for name, entry in found.items() if entry}
    for path in folder.iterdir():
        if path.name.removesuffix(_RECORD) not in finished:
            path.unlink()
    return finished


def keep_finished(folder: Path) -> int:
    """Remove all but finished shards from the folder of a merge that broke off; how many there are."""
    records = {path.name for path in folder.glob(f"*{_RECORD}")}
    kept = records | {name.removesuffix(_RECORD) for name in records}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    return len(records)


def hand_on(earlier: Path, folder: Path) -> None:
    """Give `folder` the finished shards of an earlier attempt, as hard links where the disk has them.

    That attempt may still be running somewhere: it keeps its own, and writes to none of these any more.
    """
    for record in earlier.glob(f"*{_RECORD}"):
        with suppress(OSError):
            os.link(earlier / record.stem, folder / record.stem)
            os.link(record, folder / record.name)


def forget_records(folder: Path) -> None:
    """All shards are finished."""
    for record in folder.glob(f"*{_RECORD}"):
        record.unlink()


def _verified(
    folder: Path, shard: Shard, metadata: Mapping[str, str], check: Callable[[], None]
) -> FileEntry | None:
    path, header = folder / shard.name, shard.header(metadata)
    try:
        recorded = (folder / (shard.name + _RECORD)).read_text().partition(" ")[0]
        with path.open("rb") as file:
            if file.read(len(header)) != header:
                return None
        entry = hash_file(path, lambda _: check())
    except FileNotFoundError:
        return None
    return entry if entry.sha256 == recorded else None
