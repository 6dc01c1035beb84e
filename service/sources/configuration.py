"""What config.json and its like may say: no code to be run, and numbers that a model can have."""

import re
from collections.abc import Iterator
from typing import Any

from service.sources.malformed import Malformed

_CODE = {"auto_map", "custom_pipelines", "model_file", "trust_remote_code"}
_LAYERS = {"num_hidden_layers", "num_layers", "num_decoder_layers", "n_layer", "n_layers"}
_POSITIONS = {"max_position_embeddings", "n_positions"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_MOST_LAYERS = 10_000
_MOST_POSITIONS = 2**31


def check_no_code(name: str, config: dict[str, Any]) -> None:
    """At any depth: libraries look for it in parts too. Raises Malformed, which says `name`."""
    for path, key, value in _entries(config):
        if key in _CODE and value:
            raise Malformed(f"{name} asks for code of its own ({path}): remote code is never run")


def check_numbers(name: str, config: dict[str, Any]) -> None:
    """Of layers and positions, in any part of it. Raises Malformed, which says `name`."""
    if not isinstance(config.get("text_config", {}), dict | None):
        raise Malformed(f"{name}: text_config is no object")
    for path, key, value in _entries(config):
        most = _MOST_LAYERS if key in _LAYERS else _MOST_POSITIONS if key in _POSITIONS else None
        if most is not None and value is not None and not (type(value) is int and 0 <= value <= most):
            raise Malformed(f"{name}: {path} is {value!r}; a whole number up to {most} is needed")


def check_names(name: str, config: dict[str, Any]) -> None:
    """Of model type and architectures, by which libraries choose what they run. Raises Malformed."""
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(map(_is_name, architectures)):
        raise Malformed(f"{name}: architectures is {architectures!r}; a list of names of classes is needed")
    if config.get("model_type") is not None and not _is_name(config["model_type"]):
        raise Malformed(f"{name}: model_type is {config['model_type']!r}; a name is needed")


def _is_name(found: Any) -> bool:
    return isinstance(found, str) and _NAME.fullmatch(found) is not None


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Path, key and value of everything in all mappings. Without recursion: files may be nested deeply."""
    rest: list[tuple[str, Any]] = [("", config)]
    while rest:
        path, node = rest.pop()
        items = node.items() if isinstance(node, dict) else ()
        for key, value in items:
            yield f"{path}{key}", key, value
            rest.append((f"{path}{key}.", value))
        if isinstance(node, list):
            rest += [(path, item) for item in node]
