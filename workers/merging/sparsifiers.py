"""Ways to thin out task vectors: which entries stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import OutlierModel, RankedModel, SparseModel
from workers.merging.coins import coin, keep_at_random
from workers.merging.inputs import Inputs, Tile
from workers.merging.largest import largest
from workers.merging.ranks import magnitude_ranks
from workers.merging.task_vectors import Sparsifier


def keep_largest(inputs: Inputs, models: Sequence[SparseModel]) -> Sparsifier:
    """The int(density * size) entries of the largest magnitude, at least one (TIES). Costs two passes."""
    counts = [None if model.density >= 1 else max(1, int(model.density * inputs.numel)) for model in models]
    kept = largest(inputs, Tile.task_vectors, counts)

    def trim(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        return [
            vector if entries is None else entries.trim(vector, tile)
            for vector, entries in zip(vectors, kept, strict=True)
        ]

    return trim


def drop_outliers(inputs: Inputs, models: Sequence[OutlierModel]) -> Sparsifier:
    """A share `density`, at least one, without the share `gamma` of the largest (Model breadcrumbs).

    Costs two passes.
    """
    bounds = [_ranks(model, inputs.numel) for model in models]
    counts = [count for bound in bounds for count in bound]
    found = largest(inputs, lambda tile: [v for v in tile.task_vectors() for _ in range(2)], counts)

    def trim(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        trimmed = []
        for index, vector in enumerate(vectors):
            outliers, kept = found[2 * index : 2 * index + 2]
            within = vector if kept is None else kept.trim(vector, tile)
            trimmed.append(within if outliers is None else within - outliers.trim(vector, tile))
        return trimmed

    return trim


def drop_random(inputs: Inputs, models: Sequence[SparseModel]) -> Sparsifier:
    """Every entry with probability `density` (DARE)."""

    def drop(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        return [
            vector if model.density >= 1 else keep_at_random(vector, key, tile.offset, model.density)
            for vector, model, key in zip(vectors, models, inputs.keys, strict=True)
        ]

    return drop


def drop_by_rank(inputs: Inputs, models: Sequence[RankedModel]) -> Sparsifier:
    """Every entry with a probability that rises with its rank in its row (DELLA's MAGPRUNE)."""

    def drop(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        return [
            vector
            if model.density >= 1
            else vector.mul_(coin(key, tile.offset, _probabilities(vector, model), vector))
            for vector, model, key in zip(vectors, models, inputs.keys, strict=True)
        ]

    return drop


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
