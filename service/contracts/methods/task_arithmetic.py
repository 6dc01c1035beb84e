"""Task arithmetic: add up what the models changed in the base."""

from pydantic import Field

from service.contracts.methods.parameters import TaskVectorParameters, WeightedModel
from service.contracts.methods.spec import MethodSpec


class ModelParameters(WeightedModel):
    density: float = Field(default=1.0, description="Accepted for mergekit's sake; changes nothing.")


class Parameters(TaskVectorParameters):
    rescale: bool = Field(default=False, description="Accepted for mergekit's sake; changes nothing.")


SPEC = MethodSpec(
    name="task_arithmetic",
    summary="Adds the weighted task vectors to the base.",
    paper="arXiv 2212.04089 (Task arithmetic)",
    base="origin",
    min_models=1,
    parameters=Parameters,
    model_parameters=ModelParameters,
)
