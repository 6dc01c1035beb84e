"""Weighted average (Model soups, arXiv 2203.05482)."""

from collections.abc import Sequence

from service.contracts.methods.linear import Parameters
from service.contracts.methods.parameters import WeightedModel
from workers.merging.combination import combination
from workers.merging.inputs import Inputs, TileFunction


def linear(inputs: Inputs, parameters: Parameters, models: Sequence[WeightedModel]) -> TileFunction:
    """sum(w_i x_i), divided by sum(w_i) when `normalize`."""
    total = sum(model.weight for model in models) if parameters.normalize else 1.0
    return combination([model.weight / total for model in models])
