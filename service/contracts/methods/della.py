"""DELLA: drop entries of the task vectors at random, small ones more often, elect signs."""

from pydantic import Field

from service.contracts.methods.parameters import RankedModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    normalize: bool = Field(default=True, description="Divide by the weights of those that agree.")
    rescale: bool = Field(default=True, description="Scale what is kept back to its former L1 norm.")


SPEC = MethodSpec(
    name="della",
    summary="Drops random entries of each task vector, mostly small ones, rescales, elects signs as TIES.",
    paper="arXiv 2406.11617 (DELLA-Merging)",
    base="origin",
    min_models=1,
    random=True,
    parameters=Parameters,
    model_parameters=RankedModel,
)
