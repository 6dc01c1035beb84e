"""SCE (FuseChat, arXiv 2408.07990): select, calculate, erase."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from service.contracts.methods.sce import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.largest import largest
from workers.merging.sign_election import in_elected_direction, weighted_mean

Select = Callable[[Tile, list[Tensor]], list[Tensor]]
"""From a tile and its task vectors to the vectors with entries set to zero; writes into them."""


def sce(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """Keep the entries that vary most between the models, weigh models by mean squares, elect signs."""
    select = _select(inputs, parameters.select_topk)
    weights = _energies(inputs, select)

    def merge(tile: Tile) -> Tensor:
        assert tile.base is not None
        agreeing, sign = in_elected_direction(select(tile, tile.task_vectors()))
        return weighted_mean(agreeing, weights).mul_(sign).add_(tile.base)

    return merge


def _select(inputs: Inputs, share: float) -> Select:
    if share >= 1:
        return lambda _, vectors: vectors
    count = int(sum(inputs.map(lambda tile: int(torch.count_nonzero(_variance(tile))))) * share)
    if count == 0:
        return lambda _, vectors: [vector.zero_() for vector in vectors]
    (kept,) = largest(inputs, lambda tile: [Difference(_variance(tile))], [count])
    assert kept is not None

    def select(tile: Tile, vectors: list[Tensor]) -> list[Tensor]:
        mask = kept.mask(_variance(tile), tile)
        return [vector.mul_(mask) for vector in vectors]

    return select


def _variance(tile: Tile) -> Tensor:
    return torch.stack(tile.task_vectors()).var(0, unbiased=False)


def _energies(inputs: Inputs, select: Select) -> list[float]:
    """Each model's share of the sum of squares; equal shares where nothing has changed."""

    def squares(tile: Tile) -> Tensor:
        return torch.stack([vector.double().square().sum() for vector in select(tile, tile.task_vectors())])

    total = torch.zeros(len(inputs.models), dtype=torch.float64, device=inputs.device)
    for tile in inputs.map(squares):
        total += tile
    shares: list[float] = (total / total.sum()).nan_to_num(1 / len(inputs.models)).tolist()
    return shares
