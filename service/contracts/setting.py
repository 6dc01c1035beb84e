"""The value of a parameter: a number, a gradient over the layers, or conditions on the tensor's name."""

from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

UNKNOWN_CONDITION_KEY = "unknown_condition_key"
"""Type of the error for a key of a condition that nobody reads; `ctx` has the condition's index and key."""


class Condition(BaseModel):
    """`value` for tensors whose name contains `filter` (all of them when None or "*").

    More than one value is a gradient: interpolated linearly over the layers.
    """

    model_config = ConfigDict(frozen=True)

    filter: str | None = None
    value: tuple[float, ...]


def none_is_empty(raw: object) -> object:
    """A mapping whose key is there and whose entries are not."""
    return {} if raw is None else raw


def parse_setting(raw: object) -> tuple[Condition, ...]:
    """Read a number, a gradient [n, …] or conditions [{filter, value}, …]. Raises ValueError."""
    if isinstance(raw, tuple) and all(isinstance(item, Condition) for item in raw):
        return raw
    if isinstance(raw, dict):
        raise ValueError(
            "conditions must be a list: write [{filter: …, value: …}], not {filter: …, value: …}"
        )
    if isinstance(raw, list) and raw and all(isinstance(item, dict) for item in raw):
        return tuple(_parse_condition(item, index) for index, item in enumerate(raw))
    return (Condition(value=_parse_values(raw)),)


def _parse_condition(raw: dict[Any, Any], index: int) -> Condition:
    keys = "a condition has the keys `value` and, unless it is for all tensors, `filter`"
    if unknown := [key for key in raw if key not in ("filter", "value")]:
        raise PydanticCustomError(
            UNKNOWN_CONDITION_KEY, "unknown key '{key}': " + keys, {"index": index, "key": unknown[0]}
        )
    if "value" not in raw:
        raise ValueError(keys)
    pattern = raw.get("filter")
    if pattern is not None and not isinstance(pattern, str):
        raise ValueError("`filter` is a part of tensor names, such as self_attn")
    return Condition(filter=pattern, value=_parse_values(raw["value"]))


def _parse_values(raw: object) -> tuple[float, ...]:
    return tuple(_parse_number(item) for item in (raw if isinstance(raw, list) and raw else [raw]))


def _parse_number(raw: object) -> float:
    """A finite number, also as a string: YAML 1.1 takes 1e-5 for one."""
    try:
        number = float(raw) if isinstance(raw, bool | int | float | str) else None
    except (ValueError, OverflowError):
        number = None
    if number is None:
        raise ValueError("expected a number, a list of numbers, or a list of {filter, value}")
    if not isfinite(number):
        raise ValueError("numbers must be finite")
    return number


def dump_setting(setting: tuple[Condition, ...]) -> Any:
    """The shortest way to write a setting that parses to it again."""
    if len(setting) == 1 and setting[0].filter is None:
        return _dump_values(setting[0].value)
    return [
        ({} if item.filter is None else {"filter": item.filter}) | {"value": _dump_values(item.value)}
        for item in setting
    ]


def _dump_values(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)


_VALUE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": ["number", "boolean"]}, {"type": "array", "items": {"type": ["number", "boolean"]}}]
}
_CONDITION_SCHEMA = {
    "type": "object",
    "properties": {"filter": {"type": ["string", "null"]}, "value": _VALUE_SCHEMA},
    "required": ["value"],
    "additionalProperties": False,
}
_SETTING_SCHEMA = {"anyOf": [*_VALUE_SCHEMA["anyOf"], {"type": "array", "items": _CONDITION_SCHEMA}]}
Setting = Annotated[
    tuple[Condition, ...],
    BeforeValidator(parse_setting),
    PlainSerializer(dump_setting),
    WithJsonSchema(_SETTING_SCHEMA),
]
