"""Which models changed an entry: what RAM and RAM+ (arXiv 2601.13572) are made of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.merging.inputs import Inputs, Tile, TileFunction


def overlaps(inputs: Inputs, epsilon: float) -> list[tuple[int, int]]:
    """For each model how many entries it alone changed, and how many others changed too. Costs one pass."""

    def counts(tile: Tile) -> Tensor:
        changed = _changed(torch.stack(tile.task_vectors()), epsilon)
        alone = changed & (changed.sum(0) == 1)
        return torch.stack([alone.sum((1, 2)), changed.sum((1, 2))], dim=1)

    total = torch.zeros(len(inputs.models), 2, dtype=torch.int64, device=inputs.device)
    for tile in inputs.map(counts):
        total += tile
    return [(own, changed - own) for own, changed in total.tolist()]


def add_by_overlap(epsilon: float, factors: Sequence[float]) -> TileFunction:
    """base + an entry's only change times its model's factor, or the mean of its changes."""

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        vectors = torch.stack(tile.task_vectors())
        changed = _changed(vectors, epsilon)
        vectors *= changed
        count = changed.sum(0)
        own = vectors * torch.tensor(factors, device=vectors.device).view(-1, 1, 1)
        mean = vectors.sum(0) / count.clamp_min(1)
        return torch.where(count == 1, own.sum(0), mean).add_(tile.base)

    return merge


def _changed(vectors: Tensor, epsilon: float) -> Tensor:
    return vectors.abs() > epsilon
