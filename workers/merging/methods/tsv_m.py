"""TSV-M, merging of task singular vectors (arXiv 2412.00081)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import MergedScale
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.matrices import add_rows, whole_matrices
from workers.merging.singular import Singular, decompose, nearest_orthogonal


def tsv_m(inputs: Inputs, parameters: MergedScale, models: Sequence[NoParameters]) -> TileFunction:
    """base + lambda * U⊥ diag(s) V⊥ᵀ, with the first rank / N singular vectors of each of N task vectors.

    U⊥ and V⊥ are the orthogonal matrices nearest to those of all the vectors side by side. What is no matrix,
    or has not even N rows and columns, gets the mean of the task vectors.
    """
    changes = whole_matrices(inputs, Tile.task_vectors, len(models))
    share = 0 if changes is None else min(changes.shape[-2:]) // len(models)
    if changes is None or share == 0:
        return combination([parameters.lambda_ / len(models)] * len(models))
    matrices = changes.flatten(0, 1)
    parts = list(inputs.run_all(lambda index: decompose(matrices[index], share), range(len(matrices))))
    count = changes.shape[1]
    merged = inputs.run_all(lambda index: _decorrelated(parts[index::count]), range(count))
    return add_rows(torch.cat(list(merged)), parameters.lambda_)


def _decorrelated(parts: Sequence[Singular]) -> Tensor:
    left = nearest_orthogonal(torch.cat([part.left for part in parts], dim=1))
    right = nearest_orthogonal(torch.cat([part.right for part in parts], dim=1))
    return (left * torch.cat([part.values for part in parts])) @ right.T
