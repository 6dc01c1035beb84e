"""A merge recipe: mergekit's configuration, taken verbatim and strictly."""

from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

MAX_MODELS = 64
MAX_SLICES = 1024


class Condition(BaseModel):
    """`value` for tensors whose name contains `filter` (all of them when None or "*").

    More than one value is a gradient: interpolated linearly over the layers.
    """

    model_config = ConfigDict(frozen=True)

    filter: str | None = None
    value: tuple[float, ...]


def parse_setting(raw: object) -> tuple[Condition, ...]:
    """Read a number, a gradient [n, …] or conditions [{filter, value}, …]. Raises ValueError."""
    if isinstance(raw, tuple) and all(isinstance(item, Condition) for item in raw):
        return raw
    if isinstance(raw, dict):
        raise ValueError(
            "conditions must be a list: write [{filter: …, value: …}], not {filter: …, value: …}"
        )
    if isinstance(raw, list) and raw and all(isinstance(item, dict) for item in raw):
        return tuple(_parse_condition(item) for item in raw)
    return (Condition(value=_parse_values(raw)),)


def _parse_condition(raw: dict[Any, Any]) -> Condition:
    unknown = set(raw) - {"filter", "value"}
    if unknown or "value" not in raw:
        raise ValueError("a condition has the keys `value` and, unless it is for all tensors, `filter`")
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


def _parse_dtype(raw: object) -> object:
    return raw.removeprefix("torch.") if isinstance(raw, str) else raw


def _none_is_empty(raw: object) -> object:
    return {} if raw is None else raw


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
Parameters = Annotated[dict[str, Setting], BeforeValidator(_none_is_empty)]
DType = Annotated[str, BeforeValidator(_parse_dtype), Field(pattern="^(float32|float16|bfloat16)$")]
Reference = Annotated[str, Field(min_length=1, max_length=512)]


class RecipeModel(BaseModel):
    """One ingredient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Reference
    parameters: Parameters = {}


class SliceSource(BaseModel):
    """Layers [start, end) of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Reference
    layer_range: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]
    parameters: Parameters = {}


class Slice(BaseModel):
    """Consecutive layers of the result, merged from as many layers of each source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[SliceSource, ...] = Field(min_length=1, max_length=MAX_MODELS)
    base_model: Reference | None = None
    """Instead of the recipe's, for these layers."""
    parameters: Parameters = {}


class Recipe(BaseModel):
    """What to merge, and how: whole `models`, or `slices` of their layers, by registered id or alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    merge_method: str
    models: tuple[RecipeModel, ...] | None = Field(default=None, min_length=1, max_length=MAX_MODELS)
    slices: tuple[Slice, ...] | None = Field(default=None, min_length=1, max_length=MAX_SLICES)
    base_model: Reference | None = None
    parameters: Parameters = {}
    dtype: DType | None = None
    """Sources are rounded to it on load; arithmetic is float32 always."""
    out_dtype: DType | None = None
    """The result's dtype; `dtype` when absent, else the base's own."""

    def references(self) -> list[str]:
        """Every model named, in order, none twice; the bases last."""
        slices = self.slices or ()
        named = [item.model for item in self.models or ()]
        named += [source.model for item in slices for source in item.sources]
        bases = [*(item.base_model for item in slices), self.base_model]
        return list(dict.fromkeys([*named, *(base for base in bases if base)]))
