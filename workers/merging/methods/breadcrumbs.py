"""Model breadcrumbs (arXiv 2312.06795), tensor by tensor."""

from collections.abc import Sequence

from service.contracts.methods.parameters import OutlierModel, TaskVectorParameters
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.sparsifiers import drop_outliers
from workers.merging.task_vectors import merge_task_vectors


def breadcrumbs(
    inputs: Inputs, parameters: TaskVectorParameters, models: Sequence[OutlierModel]
) -> TileFunction:
    """Drop the smallest and the largest entries of each task vector, sum."""
    return merge_task_vectors(inputs, drop_outliers(inputs, models), parameters, models, elect=False)
