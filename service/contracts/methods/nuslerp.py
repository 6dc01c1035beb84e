"""Spherical interpolation by weights, of models or of task vectors."""

from pydantic import Field

from service.contracts.methods.parameters import WeightedModel
from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    nuslerp_flatten: bool = Field(default=True, description="Take each tensor for a single vector.")
    nuslerp_row_wise: bool = Field(
        default=False, description="When not flattened: angles between columns (true) or rows (false)."
    )


SPEC = MethodSpec(
    name="nuslerp",
    summary="Spherical interpolation between two models, or their task vectors, at w1 / (w0 + w1).",
    paper="Shoemake 1985, Animating rotation with quaternion curves",
    base="optional_origin",
    min_models=2,
    max_models=2,
    parameters=Parameters,
    model_parameters=WeightedModel,
)
