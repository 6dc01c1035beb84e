"""Sources of a merge: tensors by name, read a stretch of rows at a time without loading the model."""

import json
from collections.abc import Hashable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from service.sources.adapter import WEIGHTS, Adapter


class Weights(Protocol):
    """Tensors of one model. `read` gives rows start, start + step, … below stop; many threads may call it."""

    def names(self) -> list[str]: ...

    def read(self, name: str, start: int, stop: int, step: int = 1) -> Tensor:
        """Shape (rows, row length), in the dtype the source has it in (an adapter: float32).

        The memory may be the source's own: not to be written to.
        """
        ...

    def identity(self, name: str) -> Hashable:
        """Equal for two models only where both have the very same tensor, from the same place."""
        ...


class CheckpointWeights:
    """Memory-mapped safetensors: a read touches only the pages asked for."""

    def __init__(self, folder: Path) -> None:
        placed = _locate(folder)
        self._files: dict[Path, Any] = {
            path: safe_open(path, framework="pt") for path in set(placed.values())
        }
        self._placed = placed
        self._rows: dict[str, Tensor] = {}

    def names(self) -> list[str]:
        return list(self._placed)

    def read(self, name: str, start: int, stop: int, step: int = 1) -> Tensor:
        if name not in self._rows:
            tensor: Tensor = self._files[self._placed[name]].get_tensor(name)
            self._rows[name] = as_rows(tensor)
        return self._rows[name][start:stop:step]

    def identity(self, name: str) -> Hashable:
        return self._placed[name].resolve(), name


class AdapterWeights:
    """A LoRA adapter over its base: base + scaling * (B @ A), computed for the rows asked for, in float32."""

    def __init__(self, base: Weights, adapter: Adapter) -> None:
        self._base = base
        self._product = LowRankProduct(adapter)

    def names(self) -> list[str]:
        return self._base.names()

    def read(self, name: str, start: int, stop: int, step: int = 1) -> Tensor:
        return self._product.added_to(self._base.read(name, start, stop, step), name, start, stop, step)

    def identity(self, name: str) -> Hashable:
        return self._product.identity(name, self._base.identity(name))


class LowRankProduct:
    """What an adapter adds to the tensors of a model; its factors are held in memory."""

    def __init__(self, adapter: Adapter) -> None:
        self._folder = adapter.folder
        self._pairs: Mapping[str, tuple[str, str, float]] = adapter.pairs
        with safe_open(adapter.folder / WEIGHTS, framework="pt") as file:
            self._factors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def added_to(self, rows: Tensor, name: str, start: int, stop: int, step: int) -> Tensor:
        """`rows` themselves where the adapter leaves the tensor alone, else new ones in float32."""
        if name not in self._pairs:
            return rows
        a, b, scaling = self._pairs[name]
        changed = rows.to(torch.float32, copy=True)
        factors = [self._factors[b][start:stop:step].float(), self._factors[a].float()]
        return changed.addmm_(*(factor.to(rows.device) for factor in factors), alpha=scaling)

    def identity(self, name: str, base: Hashable) -> Hashable:
        """Of the changed tensor, as in Weights; `base` is that of the tensor beneath."""
        return (self._folder.resolve(), name, base) if name in self._pairs else base


def row_layout(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows, and how long each, in the two-dimensional view of a tensor; a vector is one row."""
    return prod(shape[:-1]), shape[-1] if shape else 1


def as_rows(tensor: Tensor) -> Tensor:
    """The two-dimensional view."""
    return tensor.reshape(row_layout(tuple(tensor.shape)))


def whole_tensor(weights: Weights, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """One tensor in its shape and in `dtype`, rounded once."""
    rows, _ = row_layout(shape)
    return weights.read(name, 0, rows).to(dtype).reshape(shape)


def _locate(folder: Path) -> dict[str, Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        placed: dict[str, str] = json.loads(index.read_text())["weight_map"]
        return {name: folder / file for name, file in placed.items()}
    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        return dict.fromkeys(file.keys(), path)
