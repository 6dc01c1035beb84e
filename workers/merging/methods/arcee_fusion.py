"""Arcee Fusion, as in mergekit, with exact quantiles for tensors of any size."""

from collections.abc import Sequence

from torch import Tensor

from service.contracts.methods.spec import NoParameters
from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.largest import largest

_SMOOTHING = 1e-8


def arcee_fusion(inputs: Inputs, parameters: NoParameters, models: Sequence[NoParameters]) -> TileFunction:
    """base + (x - base) where |x - base| * KL(x, base) reaches its median + 1.5 interquartile ranges.

    KL is that of the softmax of each row.
    """
    threshold = _threshold(inputs)

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        (change,) = tile.task_vectors()
        # Not >=: a NaN must stay one, to be found.
        return change.masked_fill_(_importance(tile) < threshold, 0.0).add_(tile.base)

    return merge


def _importance(tile: Tile) -> Tensor:
    assert tile.base is not None
    (change,) = tile.task_vectors()
    p = tile.models[0].softmax(-1).add_(_SMOOTHING)
    q = tile.base.softmax(-1).add_(_SMOOTHING)
    divergence = (p * (p / q).log()).sum(-1, keepdim=True)
    return change.abs_().mul_(divergence).clamp_min_(0)


def _threshold(inputs: Inputs) -> float:
    quartiles = [int((inputs.numel - 1) * share) for share in (0.25, 0.5, 0.75)]
    found = largest(
        inputs,
        lambda tile: [Difference(_importance(tile))] * 3,
        [inputs.numel - index for index in quartiles],
    )
    first, median, third = (entry.threshold if entry else 0.0 for entry in found)
    return median + 1.5 * (third - first)
