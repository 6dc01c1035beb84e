"""JSON files of a source: an object, of sane size, or Malformed."""

import json
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from service.sources.malformed import Malformed

MAX_BYTES = 64 * 1024 * 1024


def read_object(path: Path) -> dict[str, Any]:
    """Raises Malformed or OSError."""
    return parse_object(read_raw(path), path.name)


def read_raw(path: Path) -> bytes:
    """The bytes of a file of sane size. Raises Malformed or OSError."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise Malformed(f"{path.name} has more than {MAX_BYTES} bytes")
    return raw


def parse_object(raw: bytes, name: str) -> dict[str, Any]:
    """Strict UTF-8 JSON without duplicate keys, NaN or infinity. Raises Malformed, which says `name`."""
    try:
        found = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
        )
    except RecursionError:
        raise Malformed(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Malformed(f"{name} is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"'{key}' is there twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no JSON number, or one too large")
