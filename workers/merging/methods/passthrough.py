"""One model's tensor, scaled."""

from collections.abc import Sequence

from service.contracts.methods.passthrough import ModelParameters
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination
from workers.merging.inputs import Inputs, TileFunction


def passthrough(inputs: Inputs, parameters: NoParameters, models: Sequence[ModelParameters]) -> TileFunction:
    """scale * x."""
    return combination([model.scale for model in models])
