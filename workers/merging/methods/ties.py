"""TIES-Merging (arXiv 2306.01708), trimming tensor by tensor."""

from collections.abc import Sequence

from torch import Tensor

from service.contracts.methods.ties import ModelParameters, Parameters
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.magnitude import largest_entries
from workers.merging.task_vectors import elect_and_add, l1_rescaled


def ties(inputs: Inputs, parameters: Parameters, models: Sequence[ModelParameters]) -> TileFunction:
    """Keep the largest entries of each task vector, elect a sign per entry, sum those that agree."""
    largest = largest_entries(inputs, [model.density for model in models])

    def trim(tile: Tile) -> list[Tensor]:
        return [
            vector if entries is None else vector * entries.mask(vector, tile)
            for vector, entries in zip(tile.task_vectors(), largest, strict=True)
        ]

    return elect_and_add(
        l1_rescaled(inputs, trim) if parameters.rescale else trim,
        [model.weight for model in models],
        normalize=parameters.normalize,
        scale=parameters.lambda_,
    )
