"""What a merge method declares about itself: parameters, arity, the role of the base, its paper."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

BaseRole = Literal["donor", "participant", "endpoint", "origin", "optional_origin"]
"""Of `base_model`, which always gives config and tokenizer. donor: no more than that; participant: merged
like any other model; endpoint: required, one of the models merged, the first; origin: what task vectors are
measured from, not an ingredient itself, required or optional."""


class MethodParameters(BaseModel):
    """A method's parameters for one tensor, defaults included. `t: float` without a default is required.

    `examples` are for readers and for the tests that hold for every method: a parameter that is required, or
    whose default switches something off, needs them; one for each model where models differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParameters(MethodParameters):
    """For methods that have none, or none that differ by model."""


Check = Callable[[Any, Sequence[Any]], None]
"""From the method's parameters and those of each ingredient, for one tensor."""


class MethodSpec(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    summary: str
    paper: str
    base: BaseRole
    min_models: int
    """Ingredients, counting the base only where it is one."""
    max_models: int | None = None
    roles: tuple[str, ...] = ()
    """What each model is, in the recipe's order, if the method tells them apart by their place."""
    random: bool = False
    """Whether the result depends on the seed."""
    parameters: type[MethodParameters] = NoParameters
    model_parameters: type[MethodParameters] = NoParameters
    """The part of the parameters that each ingredient may set for itself."""
    check: Check | None = Field(default=None, exclude=True)
    """Refuses parameters that are each fine and impossible together: raises ValueError saying why."""


class MethodDescription(BaseModel):
    """GET /methods: a MethodSpec with its parameters as JSON Schema."""

    name: str
    summary: str
    paper: str
    base: BaseRole
    min_models: int
    max_models: int | None
    roles: tuple[str, ...]
    random: bool
    parameters: dict[str, Any]
    model_parameters: dict[str, Any]


def describe(spec: MethodSpec) -> MethodDescription:
    return MethodDescription(
        **spec.model_dump(exclude={"parameters", "model_parameters"}),
        parameters=spec.parameters.model_json_schema(),
        model_parameters=spec.model_parameters.model_json_schema(),
    )
