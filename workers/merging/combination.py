"""The result as a weighted sum of the sources, and the scalar products that such weights follow from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.merging import kernels
from workers.merging.finite import Rounded
from workers.merging.inputs import Inputs, Tile, TileFunction


def combination(shares: Sequence[float]) -> TileFunction:
    """sum(share_i x_i); where there is a base, base + sum(share_i (x_i - base))."""

    def merge(tile: Tile) -> Tensor | Rounded:
        if tile.on_cpu:
            return kernels.add_weighted(tile.stored_models, tile.stored_base, shares, tile.result_dtype)
        result = weighted_sum(tile.directions(), shares)
        return result if tile.base is None else result.add_(tile.base)

    return merge


def weighted_sum(vectors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """sum(share_i x_i)."""
    result = vectors[0] * shares[0]
    for vector, share in zip(vectors[1:], shares[1:], strict=True):
        # Not add_(alpha=), which rounds once where the loops on the CPU round twice.
        result += vector * share
    return result


def scalar_products(inputs: Inputs) -> list[list[float]]:
    """The symmetric matrix of scalar products of the sources (less the base, if any) over the whole tensor.

    Costs one pass; the tiles' products are added in float64.
    """
    count = len(inputs.models)
    total = torch.zeros(count, count, dtype=torch.float64, device=inputs.device)
    for tile in inputs.map(_products):
        total += tile
    products: list[list[float]] = total.tolist()
    return products


def _products(tile: Tile) -> Tensor:
    if tile.on_cpu:
        return kernels.multiply_pairs(tile.stored_models, tile.stored_base)
    vectors = [direction.flatten() for direction in tile.directions()]
    return torch.stack([torch.stack([torch.dot(a, b) for b in vectors]) for a in vectors]).double()
