"""Spherical interpolation by weights (Shoemake 1985), of models or, given a base, of task vectors."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from service.contracts.methods.nuslerp import Parameters
from service.contracts.methods.parameters import WeightedModel
from workers.merging.inputs import Inputs, Tile, TileFunction

_NO_LENGTH = 1e-7
_NO_ARC = 1e-8
_NO_WEIGHT = 1e-6


def nuslerp(inputs: Inputs, parameters: Parameters, models: Sequence[WeightedModel]) -> TileFunction:
    """(sin((1-t)θ) v0 + sin(tθ) v1) / sin θ, t = w1 / (w0 + w1); a straight line where sin θ is 0.

    θ is the angle between whole tensors, or between their rows, or their columns; a vector has one row.
    """
    total = sum(model.weight for model in models)
    t = 0.5 if abs(total) < _NO_WEIGHT else models[1].weight / total
    cosine = _cosine(inputs, parameters)

    def merge(tile: Tile) -> Tensor:
        v0, v1 = tile.directions()
        share_0, share_1 = _shares(cosine(tile), t)
        result = v0 * share_0 + v1 * share_1
        return result if tile.base is None else result.add_(tile.base)

    return merge


def _cosine(inputs: Inputs, parameters: Parameters) -> Callable[[Tile], Tensor]:
    """From a tile to cosines that broadcast against it, float64."""
    if parameters.nuslerp_flatten:
        whole = _of_products(sum(inputs.map(lambda tile: _products(tile, (0, 1)))))
        return lambda _: whole
    if parameters.nuslerp_row_wise and len(inputs.shape) > 1:
        columns = _of_products(sum(inputs.map(lambda tile: _products(tile, (0,)))))
        return lambda _: columns
    return lambda tile: _of_products(_products(tile, (1,)))


def _products(tile: Tile, dims: tuple[int, ...]) -> Tensor:
    """v0 v0, v0 v1, v1 v1, summed over `dims`, float64."""
    v0, v1 = (direction.double() for direction in tile.directions())
    return torch.stack([(a * b).sum(dims, keepdim=True) for a, b in ((v0, v0), (v0, v1), (v1, v1))])


def _of_products(products: Tensor | int) -> Tensor:
    square_0, dot, square_1 = torch.as_tensor(products)
    lengths = [square.sqrt().clamp_min(_NO_LENGTH) for square in (square_0, square_1)]
    return torch.div(dot, lengths[0] * lengths[1])


def _shares(cosine: Tensor, t: float) -> tuple[Tensor, Tensor]:
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    straight = sine.abs() < _NO_ARC
    arc_0, arc_1 = ((1 - t) * angle).sin() / sine, (t * angle).sin() / sine
    return torch.where(straight, 1 - t, arc_0).float(), torch.where(straight, t, arc_1).float()
