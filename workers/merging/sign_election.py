"""Sign election (TIES-Merging, arXiv 2306.01708, eq. 4-5): only entries that agree count."""

from collections.abc import Sequence

import torch
from torch import Tensor


def elected_sum(
    vectors: Sequence[Tensor], factors: Sequence[float], weights: Sequence[float], *, normalize: bool
) -> Tensor:
    """Per entry the sum of factor * vector over those with the sign of the sum of all (0: +), without zeros.

    With `normalize` divided by the sum of their weights, where that is not 0. Writes into `vectors`.
    """
    agreeing, sign = in_elected_direction(
        [vector.mul_(factor) for vector, factor in zip(vectors, factors, strict=True)]
    )
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
    weighted = [vector * weight for vector, weight in zip(vectors, weights, strict=True)]
    return _sum(weighted).div_(_weights_present(vectors, weights))


def _weights_present(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Entry by entry the sum of the weights whose vectors are positive there; 1 where that is 0."""
    total = _sum([vector.sign().mul_(weight) for vector, weight in zip(vectors, weights, strict=True)])
    is_zero = total.sign().abs_().neg_().add_(1)
    return total.add_(is_zero)


def _sum(vectors: Sequence[Tensor]) -> Tensor:
    result = vectors[0].clone()
    for vector in vectors[1:]:
        result += vector
    return result
