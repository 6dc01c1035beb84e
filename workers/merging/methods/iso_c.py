"""Iso-C, isotropic merging in the common subspace (arXiv 2502.04959)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import MergedScale
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.matrices import add_rows, whole_matrices
from workers.merging.singular import decompose


def iso_c(inputs: Inputs, parameters: MergedScale, models: Sequence[NoParameters]) -> TileFunction:
    """base + lambda * mean(s) U Vᵀ, where U diag(s) Vᵀ is the sum of the task vectors.

    What is no matrix gets the mean of the task vectors.
    """
    sums = whole_matrices(inputs, _sum, 1)
    if sums is None:
        return combination([parameters.lambda_ / len(models)] * len(models))
    merged = inputs.run_all(lambda index: _isotropic(sums[0, index]), range(sums.shape[1]))
    return add_rows(torch.cat(list(merged)), parameters.lambda_)


def _sum(tile: Tile) -> list[Tensor]:
    return [torch.stack(tile.task_vectors()).sum(0)]


def _isotropic(matrix: Tensor) -> Tensor:
    found = decompose(matrix)
    return (found.left * found.values.mean()) @ found.right.T
