"""The values that a recipe's settings have for one tensor, by mergekit's rules of precedence."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from service.contracts.methods.spec import MethodParameters, MethodSpec
from service.contracts.problem import FieldProblem, Place, json_pointer
from service.contracts.recipe import Parameters
from service.contracts.setting import Setting
from service.recipes.refusal import Refused, refuse
from service.recipes.sections import Section, Source


def tensor_parameters(
    spec: MethodSpec, section: Section, tensor: str, sources: Sequence[tuple[Source, str]], t: float
) -> tuple[MethodParameters, tuple[MethodParameters, ...]]:
    """The method's parameters for `tensor` of the result, and each source's for its own tensor.

    `t` is the tensor's place on gradients, 0 to 1. Raises Refused.
    """
    shared_place: Place = (*section.place[:-1], "parameters")
    shared = _evaluate(spec.parameters, tensor, t, shared_place, section.parameters)
    own = tuple(
        _evaluate(
            spec.model_parameters,
            name,
            t,
            (*source.place, "parameters") if source.place != ("base_model",) else ("parameters",),
            (source.parameters, *section.parameters),
        )
        for source, name in sources
    )
    if spec.check:
        try:
            spec.check(shared, own)
        except ValueError as error:
            raise refuse(*section.place, detail=f"{error} (for {tensor})") from None
    return shared, own


def parameter_names(schema: type[MethodParameters]) -> dict[str, bool]:
    """The names of a method's parameters as recipes write them, and whether each is required."""
    return {field.alias or name: field.is_required() for name, field in schema.model_fields.items()}


def lookup(name: str, tensor: str, t: float, levels: Sequence[Parameters]) -> float | None:
    """The parameter at the first level that has a value for this tensor."""
    for level in levels:
        if name in level:
            value = evaluate(level[name], tensor, t)
            if value is not None:
                return value
    return None


def evaluate(setting: Setting, tensor: str, t: float) -> float | None:
    """The first condition whose filter is a part of the name, its gradient taken at `t`; None if none."""
    for condition in setting:
        if condition.filter in (None, "*") or (condition.filter or "") in tensor:
            return _gradient(condition.value, t)
    return None


def _gradient(values: tuple[float, ...], t: float) -> float:
    """Piecewise linear through equally spaced `values`, as in mergekit."""
    position = t * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    return (1 - (position - low)) * values[low] + (position - low) * values[high]


def _evaluate(
    schema: type[MethodParameters], tensor: str, t: float, place: Place, levels: Sequence[Parameters]
) -> MethodParameters:
    found = tuple((name, lookup(name, tensor, t, levels)) for name in parameter_names(schema))
    try:
        return _validated(schema, found)
    except ValidationError as error:
        raise Refused([_problem(item, place, tensor) for item in error.errors()]) from None


@lru_cache(maxsize=4096)
def _validated(
    schema: type[MethodParameters], found: tuple[tuple[str, float | None], ...]
) -> MethodParameters:
    return schema.model_validate({name: value for name, value in found if value is not None})


def _problem(error: Any, place: Place, tensor: str) -> FieldProblem:
    if not error["loc"]:
        return FieldProblem(pointer=json_pointer(*place), detail=f"{_message(error)} (for {tensor})")
    name = str(error["loc"][0])
    if error["type"] == "missing":
        detail = f"'{name}' is required and has no value for {tensor}"
    else:
        detail = f"{_message(error)} (for {tensor}: {error['input']:g})"
    return FieldProblem(pointer=json_pointer(*place, name), detail=detail)


def _message(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
