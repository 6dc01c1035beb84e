"""Weighted average of the weights."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    normalize: bool = Field(default=True, description="Divide by the sum of the weights.")


class ModelParameters(MethodParameters):
    weight: float = Field(description="This model's share.")


SPEC = MethodSpec(
    name="linear",
    summary="Weighted average of the models.",
    paper="arXiv 2203.05482 (Model soups)",
    base="donor",
    min_models=1,
    parameters=Parameters,
    model_parameters=ModelParameters,
)
