"""RAM+ (arXiv 2601.13572), rescaled tensor by tensor."""

from collections.abc import Sequence

from service.contracts.methods.ramplus_tl import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.overlap import add_by_overlap, overlaps


def ramplus_tl(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """As ram, with a model's own changes times 1 + r * its shared changes per own one, at most alpha."""
    factors = [
        1 + parameters.r * min(shared / max(own, parameters.epsilon), parameters.alpha)
        for own, shared in overlaps(inputs, parameters.epsilon)
    ]
    return add_by_overlap(parameters.epsilon, factors)
