"""Weighted mean direction of several models on the sphere."""

from collections.abc import Sequence

from pydantic import Field

from service.contracts.methods.parameters import WeightedModel, refuse_zero_sum
from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    normalize_weights: bool = Field(default=True, description="Divide the weights by their sum.")
    eps: float = Field(default=1e-8, ge=0.0, description="Lengths below it count as no direction.")


def _check(parameters: Parameters, models: Sequence[WeightedModel]) -> None:
    if parameters.normalize_weights:
        refuse_zero_sum(models)


SPEC = MethodSpec(
    name="multislerp",
    summary="Mean direction of the models, or their task vectors, at their mean length; weighted.",
    paper="Generalised spherical interpolation: the barycentre of unit vectors",
    base="optional_origin",
    min_models=1,
    parameters=Parameters,
    model_parameters=WeightedModel,
    check=_check,
)
