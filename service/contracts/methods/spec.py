"""What a merge method declares about itself: parameters, arity, the role of the base, its paper."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

BaseRole = Literal["donor", "endpoint", "origin"]
"""Of `base_model`. donor: only gives config and tokenizer; endpoint: one of the models merged, the first;
origin: required, what task vectors are measured from, not an ingredient itself."""


class MethodParameters(BaseModel):
    """A method's parameters for one tensor, defaults included. `t: float` without a default is required."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSpec(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    summary: str
    paper: str
    base: BaseRole
    min_models: int
    """Ingredients, counting the base only where it is an endpoint."""
    max_models: int | None = None
    random: bool = False
    """Whether the result depends on the seed."""
    parameters: type[MethodParameters]
    model_parameters: type[MethodParameters]
    """The part of the parameters that each ingredient may set for itself."""


class MethodDescription(BaseModel):
    """GET /methods: a MethodSpec with its parameters as JSON Schema."""

    name: str
    summary: str
    paper: str
    base: BaseRole
    min_models: int
    max_models: int | None
    random: bool
    parameters: dict[str, Any]
    model_parameters: dict[str, Any]


def describe(spec: MethodSpec) -> MethodDescription:
    return MethodDescription(
        **spec.model_dump(exclude={"parameters", "model_parameters"}),
        parameters=spec.parameters.model_json_schema(),
        model_parameters=spec.model_parameters.model_json_schema(),
    )
