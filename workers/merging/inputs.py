"""What a merge method sees of one tensor: the same rows of every source, tile after tile, in float32."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from workers.merging.weights import Weights

TILE_ELEMENTS = 256 * 1024
"""Small enough that a tile of every source stays in cache while it is worked on."""


@dataclass(frozen=True)
class Tile:
    """Rows [start, stop) of a tensor in every source; `offset` is the flat index of the first element."""

    start: int
    stop: int
    offset: int
    models: list[Tensor]
    base: Tensor | None

    def task_vectors(self) -> list[Tensor]:
        """models - base, float32. A method whose spec has base="origin" always has a base."""
        assert self.base is not None
        return [model - self.base for model in self.models]


TileFunction = Callable[[Tile], Tensor]
"""From a tile to the same rows of the result, float32."""


class Inputs:
    """One tensor in all sources of a merge. Methods go over tiles() for statistics as often as they need."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        models: Sequence[Weights],
        base: Weights | None,
        keys: Sequence[int],
        *,
        load_dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        tile_elements: int = TILE_ELEMENTS,
        between_tiles: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.numel = prod(shape)
        self.keys = keys
        """A random key for each model: of (seed, tensor, model), so that masks depend on nothing else."""
        self._models, self._base = models, base
        self._load_dtype = load_dtype
        self._device = device or torch.device("cpu")
        self._between_tiles = between_tiles
        self._row = shape[-1] if len(shape) > 1 else 1
        self._rows_per_tile = max(1, tile_elements // max(1, self._row))

    def tiles(self) -> Iterator[Tile]:
        rows = self.numel // self._row if self._row else 0
        for start in range(0, rows, self._rows_per_tile):
            self._between_tiles()
            stop = min(rows, start + self._rows_per_tile)
            yield Tile(
                start=start,
                stop=stop,
                offset=start * self._row,
                models=[self._read(model, start, stop) for model in self._models],
                base=None if self._base is None else self._read(self._base, start, stop),
            )

    def _read(self, weights: Weights, start: int, stop: int) -> Tensor:
        rows = weights.read(self.name, start, stop).to(self._device)
        return (rows if self._load_dtype is None else rows.to(self._load_dtype)).float()
