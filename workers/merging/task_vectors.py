"""What the methods on task vectors share: sparsify, rescale, add up or elect a sign, add to the base."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.sign_election import elected_sum

Sparsifier = Callable[[Tile, list[Tensor]], list[Tensor]]
"""From a tile and its task vectors to the vectors with entries set to zero; may write into them."""


def merge_task_vectors(
    inputs: Inputs,
    sparsify: Sparsifier,
    parameters: TaskVectorParameters,
    models: Sequence[SparseModel],
    *,
    elect: bool,
) -> TileFunction:
    """The family of task arithmetic: thin out, rescale if asked to, add up, elect signs if asked to."""
    rescale = parameters.rescale and any(model.density < 1 for model in models)
    return add_up(
        sparsify,
        [model.weight for model in models],
        scales=_l1_scales(inputs, sparsify) if rescale else [1.0] * len(models),
        parameters=parameters,
        elect=elect,
    )


def add_up(
    sparsify: Sparsifier,
    weights: Sequence[float],
    *,
    scales: Sequence[float],
    parameters: TaskVectorParameters,
    elect: bool,
) -> TileFunction:
    """base + lambda * the sum of weight * scale * task vector, with `normalize` divided by the weights.

    With `elect` an entry counts only where it agrees with the sign of the sum, and only the weights of those
    that agree divide.
    """
    factors = [weight * scale for weight, scale in zip(weights, scales, strict=True)]

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        sparse = sparsify(tile, tile.task_vectors())
        mix = (
            elected_sum(sparse, factors, weights, normalize=parameters.normalize)
            if elect
            else _plain_sum(sparse, factors, sum(weights) if parameters.normalize else 1.0)
        )
        return torch.add(tile.base, mix, alpha=parameters.lambda_)

    return merge


def keep_all(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
    """The sparsifier that is none."""
    return vectors


def _l1_scales(inputs: Inputs, sparsify: Sparsifier) -> list[float]:
    """For each task vector what gives its sparse version the L1 norm that it has as a whole. Costs one pass.

    1 for a vector whose norm is below 1e-7 before or after.
    """

    def norms(tile: Tile) -> list[tuple[float, float]]:
        vectors = tile.task_vectors()
        before = [_l1_norm(vector) for vector in vectors]
        return list(zip(before, map(_l1_norm, sparsify(tile, vectors)), strict=True))

    tiles = list(inputs.map(norms))
    totals = [(sum(b for b, _ in column), sum(a for _, a in column)) for column in zip(*tiles, strict=True)]
    return [before / after if min(before, after) > 1e-7 else 1.0 for before, after in totals]


def _plain_sum(vectors: Sequence[Tensor], factors: Sequence[float], divisor: float) -> Tensor:
    result = vectors[0].mul_(factors[0])
    for vector, factor in zip(vectors[1:], factors[1:], strict=True):
        result.add_(vector, alpha=factor)
    return result.div_(divisor) if abs(divisor) >= 1e-8 else result


def _l1_norm(vector: Tensor) -> float:
    return float(vector.abs().sum())
