"""Ways to thin out task vectors: which entries of each stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.contracts.methods.parameters import OutlierModel, RankedModel, SparseModel
from workers.merging import kernels
from workers.merging.coins import coin
from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Tile
from workers.merging.largest import Largest, largest
from workers.merging.masks import KeepAll, Mask
from workers.merging.ranks import magnitude_ranks


def keep_largest(inputs: Inputs, models: Sequence[SparseModel]) -> list[Mask]:
    """The int(density * size) entries of the largest magnitude, at least one (TIES). Costs two passes."""
    counts = [None if model.density >= 1 else max(1, int(model.density * inputs.numel)) for model in models]
    return [Bounds(kept) for kept in largest(inputs, Tile.differences, counts)]


def drop_outliers(inputs: Inputs, models: Sequence[OutlierModel]) -> list[Mask]:
    """A share `density`, at least one, without the share `gamma` of the largest (Model breadcrumbs).

    Costs two passes.
    """
    bounds = [_ranks(model, inputs.numel) for model in models]
    counts = [count for bound in bounds for count in bound]
    found = largest(inputs, _twice, counts)
    return [Bounds(kept, outliers) for outliers, kept in zip(found[::2], found[1::2], strict=True)]


def drop_random(inputs: Inputs, models: Sequence[SparseModel]) -> list[Mask]:
    """Every entry with probability `density` (DARE)."""
    return [
        KeepAll() if model.density >= 1 else Coins(key, model.density)
        for model, key in zip(models, inputs.keys, strict=True)
    ]


def drop_by_rank(inputs: Inputs, models: Sequence[RankedModel]) -> list[Mask]:
    """Every entry with a probability that rises with its rank in its row (DELLA's MAGPRUNE)."""
    return [
        KeepAll() if model.density >= 1 else RankedCoins(key, model)
        for model, key in zip(models, inputs.keys, strict=True)
    ]


@dataclass(frozen=True)
class Bounds:
    """The largest entries, all where None, without the outliers among them."""

    kept: Largest | None
    outliers: Largest | None = None

    def thin(self, vector: Tensor, tile: Tile) -> Tensor:
        within = vector if self.kept is None else self.kept.trim(vector, tile)
        return within if self.outliers is None else within - self.outliers.trim(vector, tile)

    def compiled(self, tile: Tile) -> kernels.Mask:
        mask = kernels.Mask()
        if self.kept is not None:
            mask = mask._replace(low=self.kept.bits, low_stop=self.kept.stop_in(tile))
        if self.outliers is not None:
            mask = mask._replace(top=self.outliers.bits, top_stop=self.outliers.stop_in(tile))
        return mask


@dataclass(frozen=True)
class Coins:
    key: int
    probability: float

    def thin(self, vector: Tensor, tile: Tile) -> Tensor:
        return vector.mul_(coin(self.key, tile.offset, self.probability, vector))

    def compiled(self, tile: Tile) -> kernels.Mask:
        return kernels.Mask(key=self.key, probability=self.probability)


@dataclass(frozen=True)
class RankedCoins:
    key: int
    model: RankedModel

    def thin(self, vector: Tensor, tile: Tile) -> Tensor:
        return vector.mul_(coin(self.key, tile.offset, _probabilities(vector, self.model), vector))

    def compiled(self, tile: Tile) -> None:
        return None


def _twice(tile: Tile) -> list[Difference]:
    return [difference for difference in tile.differences() for _ in range(2)]


def _ranks(model: OutlierModel, size: int) -> tuple[int | None, int | None]:
    """How many of the largest to drop, and how many of the largest to look at; None for none and all."""
    if model.density >= 1:
        return None, None
    top = int(model.gamma * size)
    bottom = size - max(1, int(model.density * size)) - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    return top or None, size - bottom if bottom else None


def _probabilities(vector: Tensor, model: RankedModel) -> Tensor:
    width = vector.shape[-1]
    if width == 1:
        return torch.full_like(vector, model.density)
    low, high = model.density - model.epsilon, model.density + model.epsilon
    return magnitude_ranks(vector).mul_((high - low) / (width - 1)).add_(low)
