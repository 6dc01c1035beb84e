"""Weighted mean direction of several models, or task vectors, at their weighted mean length.

mergekit maps that mean of unit vectors onto the tangent space at itself and back, which changes nothing but
the rounding: the result is the mean direction.
"""

from collections.abc import Sequence
from math import sqrt

from service.contracts.methods.multislerp import Parameters
from service.contracts.methods.parameters import WeightedModel
from workers.merging.combination import combination, scalar_products
from workers.merging.inputs import Inputs, TileFunction


def multislerp(inputs: Inputs, parameters: Parameters, models: Sequence[WeightedModel]) -> TileFunction:
    """m / |m| * sum(w_i |x_i|), m = sum(w_i x_i / |x_i|); the weighted sum where m has no length."""
    if len(models) == 1:
        return combination([1.0])
    total = sum(model.weight for model in models) if parameters.normalize_weights else 1.0
    weights = [model.weight / total for model in models]
    products = scalar_products(inputs)
    lengths = [sqrt(products[i][i]) for i in range(len(models))]
    shares = [
        weight / max(length + parameters.eps, 1e-30) for weight, length in zip(weights, lengths, strict=True)
    ]
    square = sum(
        a * b * product
        for a, row in zip(shares, products, strict=True)
        for b, product in zip(shares, row, strict=True)
    )
    length = sqrt(max(square, 0.0))
    if length <= parameters.eps:
        return combination(weights)
    mean_length = sum(weight * length for weight, length in zip(weights, lengths, strict=True))
    return combination([share * mean_length / length for share in shares])
