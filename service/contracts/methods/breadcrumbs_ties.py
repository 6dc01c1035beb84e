"""Model breadcrumbs with the sign election of TIES."""

from pydantic import Field

from service.contracts.methods.parameters import OutlierModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    normalize: bool = Field(default=False, description="Divide by the weights of those that agree.")


SPEC = MethodSpec(
    name="breadcrumbs_ties",
    summary="Drops the smallest and the very largest entries of each task vector, elects signs as TIES does.",
    paper="arXiv 2312.06795 (Model breadcrumbs)",
    base="origin",
    min_models=1,
    parameters=Parameters,
    model_parameters=OutlierModel,
)
