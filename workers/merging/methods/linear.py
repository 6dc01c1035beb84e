"""Weighted average (Model soups, arXiv 2203.05482)."""

from collections.abc import Sequence

from torch import Tensor

from service.contracts.methods.linear import ModelParameters, Parameters
from workers.merging.inputs import Inputs, Tile, TileFunction


def linear(inputs: Inputs, parameters: Parameters, models: Sequence[ModelParameters]) -> TileFunction:
    """sum(w_i x_i), divided by sum(w_i) when `normalize`."""
    total = sum(model.weight for model in models) if parameters.normalize else 1.0
    shares = [model.weight / total for model in models]

    def merge(tile: Tile) -> Tensor:
        result = tile.models[0] * shares[0]
        for model, share in zip(tile.models[1:], shares[1:], strict=True):
            result.add_(model, alpha=share)
        return result

    return merge
