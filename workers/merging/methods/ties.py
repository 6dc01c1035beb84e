"""TIES-Merging (arXiv 2306.01708), trimming tensor by tensor."""

from collections.abc import Sequence

from service.contracts.methods.parameters import SparseModel
from service.contracts.methods.ties import Parameters
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.sparsifiers import keep_largest
from workers.merging.task_vectors import merge_task_vectors


def ties(inputs: Inputs, parameters: Parameters, models: Sequence[SparseModel]) -> TileFunction:
    """Keep the largest entries of each task vector, elect a sign per entry, sum those that agree."""
    return merge_task_vectors(inputs, keep_largest(inputs, models), parameters, models, elect=True)
