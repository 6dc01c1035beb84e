"""What the methods on task vectors share: thin out, rescale, add up or elect a sign, add to the base."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from workers.merging import kernels
from workers.merging.combination import weighted_sum
from workers.merging.finite import Rounded
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.masks import Mask
from workers.merging.sign_election import elected_sum

_NO_WEIGHT = 1e-8
_NO_NORM = 1e-7


def merge_task_vectors(
    inputs: Inputs,
    masks: Sequence[Mask],
    parameters: TaskVectorParameters,
    models: Sequence[SparseModel],
    *,
    elect: bool,
) -> TileFunction:
    """The family of task arithmetic: thin out, rescale if asked to, add up, elect signs if asked to."""
    rescale = parameters.rescale and any(model.density < 1 for model in models)
    return add_up(
        masks,
        [model.weight for model in models],
        scales=_l1_scales(inputs, masks) if rescale else [1.0] * len(models),
        parameters=parameters,
        elect=elect,
    )


def add_up(
    masks: Sequence[Mask],
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
    normalize = parameters.normalize and (elect or abs(sum(weights)) >= _NO_WEIGHT)

    def merge(tile: Tile) -> Tensor | Rounded:
        assert tile.stored_base is not None
        if compiled := _compiled(masks, tile):
            return kernels.add_task_vectors(
                tile.stored_models,
                tile.stored_base,
                compiled,
                tile.offset,
                factors=factors,
                weights=weights,
                elect=elect,
                normalize=normalize,
                scale=parameters.lambda_,
                dtype=tile.result_dtype,
            )
        vectors = _thinned(masks, tile)
        if elect:
            mix = elected_sum(vectors, factors, weights, normalize=normalize)
        else:
            mix = weighted_sum(vectors, factors)
            mix = mix / sum(weights) if normalize else mix
        # Not add(alpha=), which rounds once where the loops on the CPU round twice.
        return mix.mul_(parameters.lambda_).add_(tile.stored_base.float())

    return merge


def _l1_scales(inputs: Inputs, masks: Sequence[Mask]) -> list[float]:
    """For each task vector what gives its sparse version the L1 norm that it has as a whole. Costs one pass.

    1 for a vector whose norm is below 1e-7 before or after.
    """
    total = torch.zeros(len(masks), 2, dtype=torch.float64)
    for norms in inputs.map(lambda tile: l1_norms(masks, tile)):
        total += norms
    return [before / after if min(before, after) > _NO_NORM else 1.0 for before, after in total.tolist()]


def l1_norms(masks: Sequence[Mask], tile: Tile) -> Tensor:
    """Of each task vector, as a whole and thinned out: shape (models, 2), float64."""
    assert tile.stored_base is not None
    if compiled := _compiled(masks, tile):
        return kernels.l1_norms(tile.stored_models, tile.stored_base, compiled, tile.offset)
    before = [_l1_norm(vector) for vector in tile.task_vectors()]
    after = [_l1_norm(vector) for vector in _thinned(masks, tile)]
    return torch.tensor([before, after], dtype=torch.float64).T


def _compiled(masks: Sequence[Mask], tile: Tile) -> list[kernels.Mask] | None:
    """For the loops on the CPU; None on other devices, and where the loops don't know a mask."""
    if not tile.on_cpu:
        return None
    compiled = [known for mask in masks if (known := mask.compiled(tile))]
    return compiled if len(compiled) == len(masks) else None


def _thinned(masks: Sequence[Mask], tile: Tile) -> list[Tensor]:
    return [mask.thin(vector, tile) for mask, vector in zip(masks, tile.task_vectors(), strict=True)]


def _l1_norm(vector: Tensor) -> float:
    return float(vector.abs().sum())
