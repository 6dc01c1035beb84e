"""Shards that are finished, on record beside them, so that a merge which broke off goes on from there.

The record of a shard has its sha256. Recipe, seed, sources, numerics and layout need none: they are in the
shard's header, which must be the one that would be written now.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from service.contracts.model import FileEntry
from service.sources.files import hash_file
from workers.merging.checkpoint import Shard

_RECORD = ".finished.json"


class FinishedShard(BaseModel):
    """The record."""

    file: FileEntry
    remarks: dict[str, str]
    """What the method has said by then."""


def record_finished(
    folder: Path,
    shard: Shard,
    remarks: Mapping[str, str],
    check: Callable[[], None],
    ready: Callable[[int], None],
) -> FinishedShard:
    """Put it on record that the shard will not be written to any more.

    `ready` waits until the file is finished up to a position; `check` and `ready` may raise to stop.
    """
    file = hash_file(folder / shard.name, lambda _: check(), ready)
    finished = FinishedShard(file=file, remarks=dict(remarks))
    aside = folder / f"{shard.name}.part"
    aside.write_text(finished.model_dump_json())
    aside.replace(_record(folder, shard.name))
    return finished


def take_over(
    folder: Path, shards: Sequence[Shard], metadata: Mapping[str, str], check: Callable[[], None]
) -> dict[str, FinishedShard]:
    """Those of `shards` that `folder` has finished, each read again; all else in there is removed."""
    found = {shard.name: _verified(folder, shard, metadata, check) for shard in shards}
    finished = {name: shard for name, shard in found.items() if shard}
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
        shard = record.name.removesuffix(_RECORD)
        with suppress(OSError):
            os.link(earlier / shard, folder / shard)
            os.link(record, folder / record.name)


def forget_records(folder: Path) -> None:
    """All shards are finished."""
    for record in folder.glob(f"*{_RECORD}"):
        record.unlink()


def _verified(
    folder: Path, shard: Shard, metadata: Mapping[str, str], check: Callable[[], None]
) -> FinishedShard | None:
    header = shard.header(metadata)
    try:
        recorded = FinishedShard.model_validate_json(_record(folder, shard.name).read_bytes())
        with (folder / shard.name).open("rb") as file:
            if file.read(len(header)) != header:
                return None
        found = hash_file(folder / shard.name, lambda _: check())
    except (FileNotFoundError, ValidationError):
        return None
    return recorded if found == recorded.file else None


def _record(folder: Path, shard: str) -> Path:
    return folder / (shard + _RECORD)
