"""Nearswap, as in mergekit."""

from collections.abc import Sequence

from torch import Tensor

from service.contracts.methods.nearswap import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.inputs import Inputs, Tile, TileFunction

_TINY = 1e-6


def nearswap(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """base + w (x - base), w = t / |x - base|, at most 1."""

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        (change,) = tile.task_vectors()
        share = change.abs().clamp_min_(_TINY).reciprocal_().mul_(parameters.t).clamp_max_(1)
        return change.mul_(share).add_(tile.base)

    return merge
