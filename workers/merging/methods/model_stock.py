"""Model stock (arXiv 2403.19522)."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from service.contracts.methods.model_stock import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import scalar_products
from workers.merging.inputs import Inputs, Tile, TileFunction

_NO_DENOMINATOR = 1e-8


def model_stock(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """base + t (mean - base), t = N c / (1 + (N - 1) c), c the mean cosine between pairs of task vectors."""
    ratio = _row_ratio if parameters.filter_wise else _whole_ratio(inputs)

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        vectors = tile.task_vectors()
        mean = torch.stack(vectors).mean(0)
        return mean.mul_(ratio(tile)).add_(tile.base)

    return merge


def _whole_ratio(inputs: Inputs) -> Callable[[Tile], Tensor]:
    products = torch.tensor(scalar_products(inputs), dtype=torch.float64)
    ratio = _ratio(products).float().to(inputs.device)
    return lambda _: ratio


def _row_ratio(tile: Tile) -> Tensor:
    vectors = torch.stack(tile.task_vectors(), dim=1).double()
    return _ratio(vectors @ vectors.transpose(1, 2)).float().unsqueeze(1)


def _ratio(products: Tensor) -> Tensor:
    """t from matrices of scalar products, shape (..., N, N); 0 where it has no bounds."""
    count = products.shape[-1]
    lengths = products.diagonal(dim1=-2, dim2=-1).sqrt()
    pairs = list(combinations(range(count), 2))
    cosines = [
        torch.nan_to_num(products[..., i, j] / (lengths[..., i] * lengths[..., j]), nan=0.0).clamp(-1, 1)
        for i, j in pairs
    ]
    mean = torch.stack(cosines).mean(0)
    denominator = 1 + (count - 1) * mean
    return torch.where(denominator.abs() < _NO_DENOMINATOR, 0.0, count * mean / denominator)
