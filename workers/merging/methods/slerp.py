"""Spherical linear interpolation (Shoemake 1985) of a whole tensor taken as one vector."""

from collections.abc import Sequence
from math import acos, sin, sqrt

from service.contracts.methods.slerp import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination, scalar_products
from workers.merging.inputs import Inputs, TileFunction

_PARALLEL = 0.9995
"""Above this cosine the arc is as good as its chord, and dividing by its sine loses digits."""
_NO_DIRECTION = 1e-8


def slerp(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """(sin((1-t)θ) v0 + sin(tθ) v1) / sin θ, θ the angle between them; a straight line if nearly parallel."""
    (square_0, dot), (_, square_1) = scalar_products(inputs)
    norms = [norm if norm > _NO_DIRECTION else 1.0 for norm in (sqrt(square_0), sqrt(square_1))]
    return combination(_shares(dot / (norms[0] * norms[1]), parameters.t))


def _shares(cosine: float, t: float) -> tuple[float, float]:
    if abs(cosine) > _PARALLEL:
        return 1 - t, t
    angle = acos(cosine)
    return sin((1 - t) * angle) / sin(angle), sin(t * angle) / sin(angle)
