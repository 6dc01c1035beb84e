"""Model breadcrumbs: drop the smallest and the largest entries of the task vectors."""

from service.contracts.methods.parameters import OutlierModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="breadcrumbs",
    summary="Drops the smallest and the very largest entries of each task vector, adds the rest to the base.",
    paper="arXiv 2312.06795 (Model breadcrumbs)",
    base="origin",
    min_models=1,
    parameters=TaskVectorParameters,
    model_parameters=OutlierModel,
)
