"""Tensors as whole matrices, for methods that need more of them than rows."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from service.recipes.tensor_names import is_embedding
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.weights import row_layout


def whole_matrices(inputs: Inputs, values: Callable[[Tile], Sequence[Tensor]], sets: int) -> Tensor | None:
    """`sets` matrices of the values of all tiles, float32: shape (sets, matrices, rows, columns). One pass.

    A tensor of three dimensions is a stack of matrices (experts). None for what is no matrix; for embeddings
    and output heads, which are lists of tokens' vectors, and too large; and for NaN and infinity, which no
    decomposition takes.
    """
    if len(inputs.shape) not in (2, 3) or is_embedding(inputs.name) or inputs.name.endswith("lm_head.weight"):
        return None
    *stack, rows, columns = inputs.shape
    if min(rows, columns) < 2:
        return None
    whole = torch.empty(sets, *row_layout(inputs.shape), device=inputs.device)

    def copy(tile: Tile) -> None:
        for target, found in zip(whole, values(tile), strict=True):
            target[tile.start : tile.start + len(found)] = found

    for _ in inputs.map(copy):
        pass
    return whole.view(sets, prod(stack), rows, columns) if whole.isfinite().all() else None


def add_rows(changes: Tensor, scale: float) -> TileFunction:
    """base + scale * the same rows of `changes`, which has the shape (rows, columns) of the whole tensor."""

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        return torch.add(tile.base, changes[tile.start : tile.start + len(tile.base)], alpha=scale)

    return merge
