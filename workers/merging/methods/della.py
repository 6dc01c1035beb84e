"""DELLA-Merging (arXiv 2406.11617)."""

from collections.abc import Sequence

from service.contracts.methods.della import Parameters
from service.contracts.methods.parameters import RankedModel
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.sparsifiers import drop_by_rank
from workers.merging.task_vectors import merge_task_vectors


def della(inputs: Inputs, parameters: Parameters, models: Sequence[RankedModel]) -> TileFunction:
    """Drop entries at random, small ones of a row more often, elect a sign per entry, sum."""
    return merge_task_vectors(inputs, drop_by_rank(inputs, models), parameters, models, elect=True)
