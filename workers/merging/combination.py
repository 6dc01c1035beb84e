"""The result as a weighted sum of the sources, and the scalar products that such weights follow from."""

from collections.abc import Sequence

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

    Costs one pass; accumulates in float64.
    """

    def products(tile: Tile) -> Tensor:
        vectors = torch.stack([direction.flatten() for direction in tile.directions()]).double()
        return vectors @ vectors.T

    total = torch.zeros(len(inputs.models), len(inputs.models), dtype=torch.float64, device=inputs.device)
    for tile in inputs.map(products):
        total += tile
    matrix: list[list[float]] = total.tolist()
    return matrix
