"""Tensors as whole matrices, for methods that need more of them than rows."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from service.recipes.tensor_names import is_embedding
from workers.merging.inputs import Inputs, Tile
from workers.merging.weights import row_layout


def matrix_shape(inputs: Inputs) -> tuple[int, int, int] | None:
    """(matrices, rows, columns) of a matrix or a stack of them, such as experts; None for what is neither.

    Embeddings and output heads are none: they are a list of tokens' vectors, and often too large.
    """
    if len(inputs.shape) < 2 or is_embedding(inputs.name) or inputs.name.endswith("lm_head.weight"):
        return None
    *stack, rows, columns = inputs.shape
    if min(rows, columns) < 2:
        return None
    return prod(stack), rows, columns


def gathered(inputs: Inputs, values: Callable[[Tile], Sequence[Tensor]], sets: int) -> Tensor:
    """The values of all tiles, `sets` float32 values for each entry: shape (sets, rows, width). One pass."""
    whole = torch.empty(sets, *row_layout(inputs.shape), device=inputs.device)

    def copy(tile: Tile) -> None:
        for target, rows in zip(whole, values(tile), strict=True):
            target[tile.start : tile.start + len(rows)] = rows

    for _ in inputs.map(copy):
        pass
    return whole
