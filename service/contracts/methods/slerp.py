"""Spherical interpolation between two models."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    t: float = Field(examples=[0.4], description="0 gives the base model, 1 the other one.")


SPEC = MethodSpec(
    name="slerp",
    summary="Spherical linear interpolation from the base model (t=0) to the other (t=1), tensor by tensor.",
    paper="Shoemake 1985, Animating rotation with quaternion curves",
    base="endpoint",
    min_models=2,
    max_models=2,
    parameters=Parameters,
)
