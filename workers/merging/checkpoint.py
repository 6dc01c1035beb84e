"""The sink on disk: safetensors shards laid out beforehand, filled in place through memory maps.

Results go straight into pages of the file: no tensor of the result is held in anonymous memory, and tensors
may be filled in any order by any thread.
"""

import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from service.recipes.plan import TensorTask
from workers.merging.engine import TORCH_DTYPES

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
        self._tensors: dict[str, Tensor] = {}
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = _shard_name(number, len(shards))
            self._lay_out(folder / name, shard, metadata)
            weight_map |= {task.name: name for task in shard}
        if len(shards) > 1:
            total = sum(task.nbytes for task in tasks)
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))

    def allocate(self, task: TensorTask) -> Tensor:
        """The place of this tensor in its file."""
        return self._tensors[task.name]

    def close(self) -> None:
        """Let go of the files."""
        self._tensors.clear()

    def _lay_out(self, path: Path, tasks: list[TensorTask], metadata: dict[str, str]) -> None:
        header, offsets = _header(tasks, metadata)
        size = len(header) + sum(task.nbytes for task in tasks)
        with path.open("wb") as file:
            file.write(header)
            # Claims the space: a write to a page of a full disk would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
        mapped = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
        for task in tasks:
            start = len(header) + offsets[task.name]
            place = mapped[start : start + task.nbytes]
            self._tensors[task.name] = place.view(TORCH_DTYPES[task.dtype]).reshape(task.shape)


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
