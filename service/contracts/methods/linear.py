"""Weighted average of the weights."""

from collections.abc import Sequence

from pydantic import Field

from service.contracts.methods.parameters import WeightedModel, refuse_zero_sum
from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    normalize: bool = Field(default=True, description="Divide by the sum of the weights.")


def _check(parameters: Parameters, models: Sequence[WeightedModel]) -> None:
    if parameters.normalize:
        refuse_zero_sum(models)


SPEC = MethodSpec(
    name="linear",
    summary="Weighted average of the models.",
    paper="arXiv 2203.05482 (Model soups)",
    base="participant",
    min_models=1,
    parameters=Parameters,
    model_parameters=WeightedModel,
    check=_check,
)
