"""DARE: drop random entries of the task vectors, rescale, add up."""

from pydantic import Field

from service.contracts.methods.parameters import SparseModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    rescale: bool = Field(default=True, description="Scale what is kept back to its former L1 norm.")


SPEC = MethodSpec(
    name="dare_linear",
    summary="Drops random entries of each task vector, rescales the rest, adds them to the base.",
    paper="arXiv 2311.03099 (DARE)",
    base="origin",
    min_models=1,
    random=True,
    parameters=Parameters,
    model_parameters=SparseModel,
)
