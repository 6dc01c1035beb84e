"""Model breadcrumbs (arXiv 2312.06795) with the sign election of TIES."""

from collections.abc import Sequence

from service.contracts.methods.breadcrumbs_ties import Parameters
from service.contracts.methods.parameters import OutlierModel
from workers.merging.inputs import Inputs, TileFunction
from workers.merging.sparsifiers import drop_outliers
from workers.merging.task_vectors import merge_task_vectors


def breadcrumbs_ties(inputs: Inputs, parameters: Parameters, models: Sequence[OutlierModel]) -> TileFunction:
    """Drop the smallest and the largest entries of each task vector, elect a sign per entry, sum."""
    return merge_task_vectors(inputs, drop_outliers(inputs, models), parameters, models, elect=True)
