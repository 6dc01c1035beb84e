"""What a merge method sees of one tensor: the same rows of every source, tile by tile, in float32."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from workers.merging.difference import Difference, difference
from workers.merging.finite import Rounded
from workers.merging.transfer import Reader, upload
from workers.merging.weights import row_layout

TILE_ELEMENTS = 512 * 1024
"""Small enough that a tile of every source stays in cache while it is worked on."""
TILE_ELEMENTS_ON_GPU = 8 * 1024 * 1024
"""Large enough that launching kernels takes less time than what they do."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Tile:
    """Rows from `start` on of a tensor in every source, not to be written to.

    A row runs along the last dimension; a vector is a single row. `offset` is the first element's flat index.
    """

    start: int
    offset: int
    stored_models: list[Tensor]
    """In the dtype that they are loaded in."""
    stored_base: Tensor | None
    result_dtype: torch.dtype = torch.float32

    @cached_property
    def models(self) -> list[Tensor]:
        """float32."""
        return [model.float() for model in self.stored_models]

    @cached_property
    def base(self) -> Tensor | None:
        """float32."""
        return None if self.stored_base is None else self.stored_base.float()

    def task_vectors(self) -> list[Tensor]:
        """models - base, float32, the caller's own. A spec with base="origin" assures a base."""
        assert self.stored_base is not None
        return [difference(model, self.stored_base) for model in self.stored_models]

    def differences(self) -> list[Difference]:
        """The task vectors, for whoever may not need them written out."""
        return [Difference(model, self.stored_base) for model in self.stored_models]

    def directions(self) -> list[Tensor]:
        """The task vectors where there is a base, else the models."""
        return self.models if self.base is None else self.task_vectors()

    @property
    def on_cpu(self) -> bool:
        return all(model.is_cpu for model in self.stored_models)


TileFunction = Callable[[Tile], Tensor | Rounded]
"""From a tile to the same rows of the result, float32, or rounded to the tile's `result_dtype` on the way."""


class RunAll(Protocol):
    """map, or a pool's map: results come in order."""

    def __call__(self, function: Callable[[int], Result], starts: Iterable[int], /) -> Iterator[Result]: ...


@dataclass(frozen=True)
class Source:
    """A tensor of one model."""

    read: Reader


@dataclass(frozen=True)
class Inputs:
    """One tensor in all sources of a merge. Methods map() over its tiles as often as they need to."""

    name: str
    """Of the tensor, in the result."""
    shape: tuple[int, ...]
    models: Sequence[Source]
    base: Source | None
    keys: Sequence[int]
    """A random key for each model: of (seed, tensor, model), so that masks depend on nothing else."""
    run_all: RunAll
    load_dtype: torch.dtype | None
    """Sources are rounded to it first."""
    result_dtype: torch.dtype
    device: torch.device
    tile_elements: int
    remark: Callable[[str], None]
    """For what a user should know about this tensor; at most one remark."""

    @property
    def numel(self) -> int:
        return torch.Size(self.shape).numel()

    def map(self, function: Callable[[Tile], Result]) -> Iterator[Result]:
        """`function` of every tile, in the tiles' order, computed in any."""
        rows, width = row_layout(self.shape)
        starts = range(0, rows if width else 0, self._tile_rows)
        return self.run_all(lambda start: function(self.tile_at(start)), starts)

    def sample(self, function: Callable[[Tile], Result], elements: int) -> Iterator[Result]:
        """`function` of tiles of every n-th row, of about `elements` in all."""
        rows, width = row_layout(self.shape)
        # Odd, so as not to keep step with attention heads, say.
        step = max(1, self.numel // elements) | 1 if elements < self.numel else 1
        starts = range(0, rows if width else 0, step * self._tile_rows)
        return self.run_all(lambda start: function(self.tile_at(start, step)), starts)

    def tile(self, start: int, stop: int, step: int = 1) -> Tile:
        """Rows start, start + step, … below stop."""
        return Tile(
            start=start,
            offset=start * row_layout(self.shape)[1],
            stored_models=[self._read(model, start, stop, step) for model in self.models],
            stored_base=None if self.base is None else self._read(self.base, start, stop, step),
            result_dtype=self.result_dtype,
        )

    def tile_at(self, start: int, step: int = 1) -> Tile:
        """A tile of the usual size."""
        rows, _ = row_layout(self.shape)
        return self.tile(start, min(rows, start + step * self._tile_rows), step)

    @property
    def _tile_rows(self) -> int:
        return max(1, self.tile_elements // max(1, row_layout(self.shape)[1]))

    def _read(self, source: Source, start: int, stop: int, step: int) -> Tensor:
        rows = upload(source.read(start, stop, step), self.device)
        return rows if self.load_dtype in (None, rows.dtype) else rows.to(self.load_dtype)
