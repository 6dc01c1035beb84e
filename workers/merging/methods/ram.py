"""RAM (arXiv 2601.13572)."""

from collections.abc import Sequence

from service.contracts.methods.ram import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.overlap import add_by_overlap


def ram(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """Changes that one model made count in full, those that several made by their mean."""
    return add_by_overlap(parameters.epsilon, [1.0] * len(models))
