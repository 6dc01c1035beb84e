"""The sink on disk: safetensors shards laid out beforehand, tensors written to their places.

No tensor of the result is held in anonymous memory, and rows may be written in any order by any thread.
Written, not stored through a memory map: that is several times faster for pages of a new file.
"""

import json
import math
import os
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from service.recipes.plan import TensorTask
from workers.merging.engine import TORCH_DTYPES, Destination
from workers.merging.weights import row_layout

SHARD_BYTES = 5_000_000_000


class CheckpointWriter:
    """Lays out `tasks` in shards of at most `shard_bytes` in `folder`; close() makes them loadable."""

    def __init__(
        self,
        folder: Path,
        tasks: tuple[TensorTask, ...],
        metadata: dict[str, str],
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        shards = _split(tasks, shard_bytes)
        self._destinations: dict[str, Destination] = {}
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = _shard_name(number, len(shards))
            self._lay_out(folder / name, shard, metadata)
            weight_map |= {task.name: name for task in shard}
        if len(shards) > 1:
            total = sum(task.nbytes for task in tasks)
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))

    def allocate(self, task: TensorTask) -> Destination:
        """The place of this tensor in its file."""
        return self._destinations[task.name]

    def close(self) -> None:
        """Let go of the files."""
        self._destinations.clear()

    def _lay_out(self, path: Path, tasks: list[TensorTask], metadata: dict[str, str]) -> None:
        header, offsets = _header(tasks, metadata)
        size = len(header) + sum(task.nbytes for task in tasks)
        with path.open("wb") as file:
            file.write(header)
            # Claims the space, so that a full disk shows at once.
            os.posix_fallocate(file.fileno(), 0, size)
        mapped = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
        for task in tasks:
            start = len(header) + offsets[task.name]
            place = mapped[start : start + task.nbytes]
            tensor = place.view(TORCH_DTYPES[task.dtype]).reshape(task.shape)
            row_bytes = row_layout(task.shape)[1] * tensor.itemsize
            self._destinations[task.name] = Destination(tensor, partial(_write, path, start, row_bytes))


def _write(path: Path, offset: int, row_bytes: int, start: int, rows: Tensor) -> None:
    """Rows from `start` on of the tensor at `offset`."""
    left = memoryview(rows.cpu().flatten().view(torch.uint8).numpy().data)
    offset += start * row_bytes
    with path.open("r+b", buffering=0) as file:
        while left:
            written = os.pwrite(file.fileno(), left, offset)
            left, offset = left[written:], offset + written


def _header(tasks: list[TensorTask], metadata: dict[str, str]) -> tuple[bytes, dict[str, int]]:
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


def _split(tasks: tuple[TensorTask, ...], shard_bytes: int) -> list[list[TensorTask]]:
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
    return "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
