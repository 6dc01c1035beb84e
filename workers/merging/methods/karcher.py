"""Karcher mean (arXiv 2603.04972): the Riemannian centre of the models on the sphere."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from service.contracts.methods.karcher import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination, scalar_products
from workers.merging.inputs import Inputs, TileFunction


def karcher(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """The centre of the models' directions, at their mean length.

    It lies in the span of the models, so that all steps need only their scalar products.
    """
    products = torch.tensor(scalar_products(inputs), dtype=torch.float64)
    lengths = products.diagonal().sqrt()
    present = lengths > parameters.tol
    if not present.any():
        return combination([1 / len(models)] * len(models))
    inverse = torch.where(present, 1 / lengths, 0.0)
    centre = _centre(products * inverse.outer(inverse), present, parameters)
    shares: list[float] = (centre * inverse * lengths.mean()).tolist()
    return combination(shares)


def _centre(cosines: Tensor, present: Tensor, parameters: Parameters) -> Tensor:
    """Coefficients of the centre over the unit vectors whose scalar products are `cosines`."""
    shares = present.double() / present.sum()
    centre = shares
    if _length(centre, cosines) < parameters.tol:
        centre = torch.zeros_like(shares)
        centre[present.nonzero()[0]] = 1.0
    centre = centre / _length(centre, cosines)
    for _ in range(parameters.max_iter):
        step = _step(centre, cosines, shares, parameters.tol)
        length = _length(step, cosines)
        if length < parameters.tol:
            break
        centre = centre * torch.tensor(length).cos() + step * (torch.tensor(length).sin() / length)
        centre = centre / _length(centre, cosines)
    return centre


def _step(centre: Tensor, cosines: Tensor, shares: Tensor, tol: float) -> Tensor:
    """The mean of the logarithms at `centre`: the downhill direction."""
    dots = (cosines @ centre).clamp(-1, 1)
    angles = dots.acos()
    factors = torch.where(angles < tol, 0.0, shares * angles / angles.sin().clamp_min(1e-12))
    return factors - centre * (factors * dots).sum()


def _length(coefficients: Tensor, cosines: Tensor) -> float:
    return sqrt(max(float(coefficients @ cosines @ coefficients), 0.0))
