"""DARE (arXiv 2311.03099).

The survivors are scaled back to the L1 norm of the whole task vector, as mergekit does since 0.1.0, rather
than by the paper's 1/density; the two agree in expectation.
"""

from collections.abc import Sequence

from service.contracts.methods.dare_linear import Parameters
from service.contracts.methods.parameters import SparseModel
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.sparsifiers import drop_random
from workers.merging.task_vectors import merge_task_vectors


def dare_linear(inputs: Inputs, parameters: Parameters, models: Sequence[SparseModel]) -> TileFunction:
    """Keep each entry of a task vector with probability `density`, sum."""
    return merge_task_vectors(inputs, drop_random(inputs, models), parameters, models, elect=False)
