"""The result as a weighted sum of the sources, and the scalar products that such weights follow from."""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from workers.merging.inputs import Inputs, Tile, TileFunction


def combination(shares: Sequence[float]) -> TileFunction:
    """sum(share_i x_i); where there is a base, base + sum(share_i (x_i - base))."""

    def merge(tile: Tile) -> Tensor:
        directions = tile.directions()
        result = directions[0] * shares[0]
        for direction, share in zip(directions[1:], shares[1:], strict=True):
            result.add_(direction, alpha=share)
        return result if tile.base is None else result.add_(tile.base)

    return merge


def scalar_products(inputs: Inputs) -> list[list[float]]:
    """The symmetric matrix of scalar products of the sources (less the base, if any) over the whole tensor.

    Costs one pass; the tiles' products are added in float64.
    """
    pairs = list(combinations_with_replacement(range(len(inputs.models)), 2))

    def products(tile: Tile) -> Tensor:
        vectors = [direction.flatten() for direction in tile.directions()]
        return torch.stack([torch.dot(vectors[i], vectors[j]) for i, j in pairs]).double()

    total = sum(inputs.map(products), torch.zeros(len(pairs), dtype=torch.float64, device=inputs.device))
    by_pair = dict(zip(pairs, total.tolist(), strict=True))
    order = range(len(inputs.models))
    return [[by_pair[min(i, j), max(i, j)] for j in order] for i in order]
