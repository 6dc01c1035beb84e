"""DELLA without the sign election."""

from pydantic import Field

from service.contracts.methods.parameters import RankedModel, TaskVectorParameters
from service.contracts.methods.spec import MethodSpec


class Parameters(TaskVectorParameters):
    rescale: bool = Field(default=True, description="Scale what is kept back to its former L1 norm.")


SPEC = MethodSpec(
    name="della_linear",
    summary="Drops random entries of each task vector, mostly small ones, rescales, adds them to the base.",
    paper="arXiv 2406.11617 (DELLA-Merging)",
    base="origin",
    min_models=1,
    random=True,
    parameters=Parameters,
    model_parameters=RankedModel,
)
