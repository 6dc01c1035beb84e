"""Task arithmetic (arXiv 2212.04089)."""

from collections.abc import Sequence

from service.contracts.methods.task_arithmetic import ModelParameters, Parameters
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.masks import KeepAll
from workers.merging.task_vectors import add_up


def task_arithmetic(
    inputs: Inputs, parameters: Parameters, models: Sequence[ModelParameters]
) -> TileFunction:
    """Base plus the weighted sum of the task vectors."""
    weights = [model.weight for model in models]
    masks = [KeepAll() for _ in models]
    return add_up(masks, weights, scales=[1.0] * len(models), parameters=parameters, elect=False)
