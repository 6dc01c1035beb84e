"""The sink on disk: safetensors shards laid out beforehand, tensors written to their places.

No tensor of the result is held in anonymous memory, and rows may be written in any order by any thread.
Written, not stored through a memory map: that is several times faster for pages of a new file.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from service.recipes.plan import TensorTask
from service.sources.checkpoint import INDEX, SINGLE
from workers.merging.engine import TORCH_DTYPES, Destination
from workers.merging.weights import row_layout

SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Shard:
    """One file of the result."""

    name: str
    tasks: tuple[TensorTask, ...]

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """What the file begins with: it names every tensor and its place, and carries `metadata`."""
        return _header(self.tasks, metadata)[0]

    def ends(self, metadata: Mapping[str, str]) -> dict[str, int]:
        """Where each tensor ends in the file, in the file's order."""
        header, offsets = _header(self.tasks, metadata)
        nbytes = {task.name: task.nbytes for task in self.tasks}
        return {name: len(header) + offset + nbytes[name] for name, offset in offsets.items()}

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return sum(task.nbytes for task in self.tasks)


def shards_of(tasks: Sequence[TensorTask], shard_bytes: int = SHARD_BYTES) -> tuple[Shard, ...]:
    """The tasks in their order, in files of at most `shard_bytes` of tensors (a larger tensor has one)."""
    groups = _split(tasks, shard_bytes)
    return tuple(
        Shard(_shard_name(number, len(groups)), tuple(group)) for number, group in enumerate(groups, 1)
    )


def write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Say what is in which file; a single file needs no index."""
    if len(shards) > 1:
        weight_map = {task.name: shard.name for shard in shards for task in shard.tasks}
        index = {"metadata": {"total_size": sum(shard.nbytes for shard in shards)}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=1))


class CheckpointWriter:
    """Lays out `shards` in `folder`; whoever has let go of it with close() may load them."""

    def __init__(self, folder: Path, shards: Sequence[Shard], metadata: Mapping[str, str]) -> None:
        self._destinations: dict[str, Destination] = {}
        self._open = ExitStack()
        for shard in shards:
            self._lay_out(folder / shard.name, shard.tasks, metadata)

    def allocate(self, task: TensorTask) -> Destination:
        """The place of this tensor in its file."""
        return self._destinations[task.name]

    def close(self) -> None:
        """Let go of the files."""
        self._destinations.clear()
        self._open.close()

    def _lay_out(self, path: Path, tasks: Sequence[TensorTask], metadata: Mapping[str, str]) -> None:
        header, offsets = _header(tasks, metadata)
        size = len(header) + sum(task.nbytes for task in tasks)
        with path.open("wb") as file:
            file.write(header)
            # Claims the space, so that a full disk shows at once.
            os.posix_fallocate(file.fileno(), 0, size)
        writable = self._open.enter_context(path.open("r+b"))
        mapped = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
        for task in tasks:
            start = len(header) + offsets[task.name]
            place = mapped[start : start + task.nbytes]
            tensor = place.view(TORCH_DTYPES[task.dtype]).reshape(task.shape)
            row_bytes = row_layout(task.shape)[1] * tensor.itemsize
            self._destinations[task.name] = Destination(
                tensor, partial(_write, writable.fileno(), start, row_bytes)
            )


def _write(file: int, offset: int, row_bytes: int, start: int, rows: Tensor) -> None:
    """Rows from `start` on of the tensor at `offset`."""
    left = memoryview(rows.flatten().view(torch.uint8).numpy().data)
    offset += start * row_bytes
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _header(tasks: Sequence[TensorTask], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The safetensors header, padded so that all tensors are aligned, and each tensor's offset."""
    # Widest items first keeps every offset a multiple of its item's size.
    ordered = sorted(tasks, key=lambda task: -TORCH_DTYPES[task.dtype].itemsize)
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    offsets: dict[str, int] = {}
    position = 0
    for task in ordered:
        entries[task.name] = {
            "dtype": task.dtype,
            "shape": list(task.shape),
            "data_offsets": [position, position + task.nbytes],
        }
        offsets[task.name] = position
        position += task.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (math.ceil((len(text) + 8) / 8) * 8 - len(text) - 8)
    return len(text).to_bytes(8, "little") + text, offsets


def _split(tasks: Sequence[TensorTask], shard_bytes: int) -> list[list[TensorTask]]:
    shards: list[list[TensorTask]] = [[]]
    size = 0
    for task in tasks:
        if shards[-1] and size + task.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(task)
        size += task.nbytes
    return shards


def _shard_name(number: int, count: int) -> str:
    return SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
