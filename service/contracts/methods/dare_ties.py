"""DARE-TIES: drop random entries of the task vectors, rescale, elect signs as TIES does."""

from pydantic import Field

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    normalize: bool = Field(default=False, description="Divide by the weights of those that agree.")
    rescale: bool = Field(default=True, description="Scale what is kept back to its former L1 norm.")


SPEC = MethodSpec(
    name="dare_ties",
    summary="Drops random entries of each task vector, rescales the rest, elects signs as TIES does.",
    paper="arXiv 2311.03099 (DARE)",
    base="origin",
    min_models=1,
    random=True,
    parameters=Parameters,
    model_parameters=SparseModel,
)
