"""Spherical linear interpolation (Shoemake 1985) of a whole tensor taken as one vector."""

from collections.abc import Sequence
from math import acos, sin, sqrt

import torch
from torch import Tensor

from service.contracts.methods.slerp import ModelParameters, Parameters
from workers.merging.inputs import Inputs, Tile, TileFunction

_PARALLEL = 0.9995
"""Above this cosine the arc is as good as its chord, and dividing by its sine loses digits."""
_NO_DIRECTION = 1e-8


def slerp(inputs: Inputs, parameters: Parameters, models: Sequence[ModelParameters]) -> TileFunction:
    """(sin((1-t)θ) v0 + sin(tθ) v1) / sin θ, θ the angle between them; a straight line if nearly parallel."""
    first, second = _coefficients(_cosine(inputs), parameters.t)

    def merge(tile: Tile) -> Tensor:
        return (tile.models[0] * first).add_(tile.models[1], alpha=second)

    return merge


def _cosine(inputs: Inputs) -> float:
    dot = square_0 = square_1 = 0.0
    for tile in inputs.tiles():
        v0, v1 = (model.flatten() for model in tile.models)
        dot += float(torch.dot(v0, v1))
        square_0 += float(torch.dot(v0, v0))
        square_1 += float(torch.dot(v1, v1))
    norms = [norm if norm > _NO_DIRECTION else 1.0 for norm in (sqrt(square_0), sqrt(square_1))]
    return dot / (norms[0] * norms[1])


def _coefficients(cosine: float, t: float) -> tuple[float, float]:
    if abs(cosine) > _PARALLEL:
        return 1 - t, t
    angle = acos(cosine)
    return sin((1 - t) * angle) / sin(angle), sin(t * angle) / sin(angle)
