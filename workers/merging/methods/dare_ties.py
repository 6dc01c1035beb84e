"""DARE (arXiv 2311.03099) with the sign election of TIES.

The survivors are scaled back to the L1 norm of the whole task vector, as mergekit does since 0.1.0, rather
than by the paper's 1/density; the two agree in expectation.
"""

from collections.abc import Sequence

from torch import Tensor

from service.contracts.methods.dare_ties import ModelParameters, Parameters
from workers.merging.counter_random import uniform
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.task_vectors import elect_and_add, l1_rescaled


def dare_ties(inputs: Inputs, parameters: Parameters, models: Sequence[ModelParameters]) -> TileFunction:
    """Keep each entry of a task vector with probability `density`, elect a sign per entry, sum."""

    def drop(tile: Tile) -> list[Tensor]:
        return [
            vector if model.density >= 1 else vector * (uniform(key, tile.offset, vector) < model.density)
            for vector, model, key in zip(tile.task_vectors(), models, inputs.keys, strict=True)
        ]

    sparse = parameters.rescale and any(model.density < 1 for model in models)
    return elect_and_add(
        l1_rescaled(inputs, drop) if sparse else drop,
        [model.weight for model in models],
        normalize=parameters.normalize,
        scale=parameters.lambda_,
    )
