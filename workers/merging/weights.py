"""Sources of a merge: tensors by name, read a stretch of rows at a time without loading the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from service.sources.adapter import Adapter


class Weights(Protocol):
    """Tensors of one model. `read` gives rows [start, stop) of a tensor flattened to two dimensions."""

    def names(self) -> list[str]: ...

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """Shape (stop - start, row length), in the dtype the source has it in (an adapter: float32)."""
        ...


class CheckpointWeights:
    """Memory-mapped safetensors: a read touches only the pages asked for."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[Path, safe_open] = {}
        self._folder = folder
        self._where = _locate(folder)

    def names(self) -> list[str]:
        return list(self._where)

    def read(self, name: str, start: int, stop: int) -> Tensor:
        return as_rows(self._tensor(name))[start:stop]

    def _tensor(self, name: str) -> Tensor:
        path = self._where[name]
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        tensor: Tensor = self._files[path].get_tensor(name)
        return tensor


class AdapterWeights:
    """A LoRA adapter over its base: base + scaling * (B @ A), computed for the rows asked for, in float32."""

    def __init__(self, base: Weights, adapter: Adapter) -> None:
        self._base = base
        self._pairs: Mapping[str, tuple[str, str, float]] = adapter.pairs
        with safe_open(adapter.folder / "adapter_model.safetensors", framework="pt") as file:
            self._factors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118

    def names(self) -> list[str]:
        return self._base.names()

    def read(self, name: str, start: int, stop: int) -> Tensor:
        rows = self._base.read(name, start, stop)
        if name not in self._pairs:
            return rows
        a, b, scaling = self._pairs[name]
        return rows.float() + scaling * (self._factors[b][start:stop] @ self._factors[a])


def as_rows(tensor: Tensor) -> Tensor:
    """A view with two dimensions: rows along the last one; vectors and scalars are columns of ones."""
    return tensor.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1)


def whole_tensor(weights: Weights, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One tensor in its shape and in `dtype`, rounded once."""
    rows = torch.Size(shape).numel() // (shape[-1] if len(shape) > 1 else 1)
    return weights.read(name, 0, rows).to(dtype).reshape(shape)


def _locate(folder: Path) -> dict[str, Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        placed: dict[str, str] = json.loads(index.read_text())["weight_map"]
        return {name: folder / file for name, file in placed.items()}
    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        return dict.fromkeys(file.keys(), path)
