"""How long a model stays loaded after its last request, as requests and settings write it."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

FOREVER = -1.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_LONGEST = 1e9
_HELP = "seconds, or a duration such as 90s, 5m, 1h30m; 0 unloads at once, -1 never"


def parse_duration(value: Any) -> float:
    """Seconds; -1 for ever. Raises ValueError on anything that is neither a number nor a duration."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(rf"-?\d+(\.\d+)?|-1({'|'.join(_UNITS)})|({_PART})+", text):
        raise ValueError(f"'{text}' is no duration: give {_HELP}")
    if text.startswith("-"):
        return FOREVER
    parts = re.findall(_PART, text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else float(text)
    if seconds > _LONGEST:
        raise ValueError("that is longer than 30 years: -1 is for ever")
    return seconds


KeepAlive = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=str | float),
    Field(description=_HELP, examples=["5m"]),
]
"""Seconds; FOREVER keeps the model until something else needs the room."""
