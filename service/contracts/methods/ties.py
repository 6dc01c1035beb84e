"""TIES: trim the task vectors, elect a sign, merge those that agree."""

from pydantic import Field

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    normalize: bool = Field(default=True, description="Divide by the weights of those that agree.")


SPEC = MethodSpec(
    name="ties",
    summary="Trims each task vector to its largest entries, elects a sign per entry, sums those that agree.",
    paper="arXiv 2306.01708 (TIES-Merging)",
    base="origin",
    min_models=1,
    parameters=Parameters,
    model_parameters=SparseModel,
)
