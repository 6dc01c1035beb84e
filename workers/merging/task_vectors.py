"""What the methods on task vectors share: sparsify, rescale, add up or elect a sign, add to the base."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from workers.merging.inputs import Inputs, Tile, TileFunction

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
        l1_rescaled(inputs, sparsify) if rescale else sparsify,
        [model.weight for model in models],
        normalize=parameters.normalize,
        scale=parameters.lambda_,
        elect=elect,
    )


def keep_all(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
    """The sparsifier that is none."""
    return vectors


def l1_rescaled(inputs: Inputs, sparsify: Sparsifier) -> Sparsifier:
    """Scale each sparse task vector so that its L1 norm over the whole tensor is what it was.

    Costs one pass. A vector whose norm is below 1e-7 before or after stays as it is.
    """

    def norms(tile: Tile) -> list[tuple[float, float]]:
        vectors = tile.task_vectors()
        before = [_l1_norm(vector) for vector in vectors]
        return list(zip(before, map(_l1_norm, sparsify(tile, vectors)), strict=True))

    tiles = list(inputs.map(norms))
    totals = [(sum(b for b, _ in column), sum(a for _, a in column)) for column in zip(*tiles, strict=True)]
    scales = [before / after if min(before, after) > 1e-7 else 1.0 for before, after in totals]

    def rescaled(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        return [vector * scale for vector, scale in zip(sparsify(tile, vectors), scales, strict=True)]

    return rescaled


def add_up(
    sparsify: Sparsifier, weights: Sequence[float], *, normalize: bool, scale: float, elect: bool
) -> TileFunction:
    """base + scale * the weighted sum, with `normalize` divided by the weights.

    With `elect` an entry counts only where it agrees with the sign of the sum (TIES, eq. 4-5), and only the
    weights of those that agree divide.
    """

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        sparse = sparsify(tile, tile.task_vectors())
        weighted = [vector.mul_(weight) for vector, weight in zip(sparse, weights, strict=True)]
        mix = (
            _elected_sum(weighted, weights, normalize=normalize)
            if elect
            else _plain_sum(weighted, weights, normalize=normalize)
        )
        return torch.add(tile.base, mix, alpha=scale)

    return merge


def _plain_sum(weighted: Sequence[Tensor], weights: Sequence[float], *, normalize: bool) -> Tensor:
    total = sum(weights)
    result = _sum(weighted)
    return result.div_(total) if normalize and abs(total) >= 1e-8 else result


def _elected_sum(weighted: Sequence[Tensor], weights: Sequence[float], *, normalize: bool) -> Tensor:
    agreeing, sign = in_elected_direction(weighted)
    result = _sum(agreeing).mul_(sign)
    return result.div_(_weights_present(agreeing, weights)) if normalize else result


def in_elected_direction(vectors: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The entries times the sign of their sum, 0 where they disagree; and that sign, + for a sum of 0.

    Writes into `vectors`. Floats all along, because torch is slow with booleans.
    """
    total = _sum(vectors)
    sign = torch.ones_like(total).copysign_(total)
    return [vector.mul_(sign).clamp_min_(0) for vector in vectors], sign


def weighted_mean(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Entry by entry, of the vectors that are not zero there."""
    divisor = _weights_present(vectors, weights)
    weighted = [vector * weight for vector, weight in zip(vectors, weights, strict=True)]
    return _sum(weighted).div_(divisor)


def _weights_present(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Entry by entry the sum of the weights whose vectors are positive there; 1 where that is 0."""
    total = _sum([vector.sign().mul_(weight) for vector, weight in zip(vectors, weights, strict=True)])
    is_zero = total.sign().abs_().neg_().add_(1)
    return total.add_(is_zero)


def _sum(vectors: Sequence[Tensor]) -> Tensor:
    if len(vectors) == 1:
        return vectors[0].clone()
    result = vectors[0] + vectors[1]
    for vector in vectors[2:]:
        result += vector
    return result


def _l1_norm(vector: Tensor) -> float:
    return float(vector.abs().sum())
