"""What the methods on task vectors share: sparsify, rescale, elect a sign, add to the base."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workers.merging.inputs import Inputs, Tile, TileFunction

Sparsifier = Callable[[Tile], list[Tensor]]
"""From a tile to its task vectors with entries set to zero."""


def l1_rescaled(inputs: Inputs, sparsify: Sparsifier) -> Sparsifier:
    """Scale each sparse task vector so that its L1 norm over the whole tensor is what it was.

    Costs one pass. A vector whose norm is below 1e-7 before or after stays as it is.
    """
    before = [0.0] * len(inputs.keys)
    after = [0.0] * len(inputs.keys)
    for tile in inputs.tiles():
        for index, (dense, sparse) in enumerate(zip(tile.task_vectors(), sparsify(tile), strict=True)):
            before[index] += float(dense.abs().sum(dtype=torch.float64))
            after[index] += float(sparse.abs().sum(dtype=torch.float64))
    scales = [b / a if b > 1e-7 and a > 1e-7 else 1.0 for b, a in zip(before, after, strict=True)]
    return lambda tile: [vector * scale for vector, scale in zip(sparsify(tile), scales, strict=True)]


def elect_and_add(
    sparsify: Sparsifier, weights: Sequence[float], *, normalize: bool, scale: float
) -> TileFunction:
    """base + scale * sum of the weighted entries that agree with the sign of their sum (TIES, eq. 4-5).

    With `normalize` the sum is divided by the weights of the models that agree.
    """

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        weighted = [vector.mul_(weight) for vector, weight in zip(sparsify(tile), weights, strict=True)]
        positive = torch.stack(weighted).sum(0) >= 0
        mix = torch.zeros_like(tile.base)
        divisor = torch.zeros_like(tile.base)
        for vector, weight in zip(weighted, weights, strict=True):
            agrees = torch.where(positive, vector > 0, vector < 0)
            mix += torch.where(agrees, vector, 0.0)
            divisor += agrees * weight
        if normalize:
            mix /= torch.where(divisor == 0, 1.0, divisor)
        return tile.base + scale * mix

    return merge
