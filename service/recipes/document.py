"""JSON or YAML text to plain data, with what could harm or mislead refused: bombs, aliases, double keys."""

import json
from collections.abc import Iterable
from typing import Any

import yaml

from service.recipes.refusal import refuse

MAX_RECIPE_BYTES = 256 * 1024
_MAX_DEPTH = 32
_MAX_INTEGER_BITS = 4096
"""Python refuses to print much larger ones, also in the message that refuses them."""


class _BadDocument(ValueError):
    """Well-formed, and yet not taken."""


def load_document(text: str | bytes) -> Any:
    """JSON if it is JSON, else YAML without aliases or tags; a list if it has several documents.

    Raises Refused.
    """
    if len(text) > MAX_RECIPE_BYTES:
        raise refuse(detail=f"the recipe has {len(text)} bytes; at most {MAX_RECIPE_BYTES} are taken")
    try:
        document = _load(text)
        _check(document, _MAX_DEPTH)
    except RecursionError:
        raise refuse(detail="the recipe is nested too deeply") from None
    except _BadDocument as error:
        raise refuse(detail=str(error)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise refuse(detail=f"neither JSON nor YAML: {_printable(str(error))}") from None
    return document


def _load(text: str | bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _BadDocument:
        raise
    except ValueError:
        documents = list(yaml.load_all(text, Loader=_PlainLoader))
        # A separator before the first document, or after the last, makes an empty one.
        documents = [document for document in documents if document is not None]
        return documents if len(documents) > 1 else documents[0] if documents else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_unique(name for name, _ in pairs)
    return dict(pairs)


def _check_unique(keys: Iterable[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise _BadDocument(f"the key '{_printable(key)}' is there twice in one mapping")
        seen.add(key)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, a few bytes of which can stand for millions of nodes, and without double keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _BadDocument("YAML aliases (*name) are not taken in recipes")
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> int:
        """Without YAML 1.1's base 60, in which a clock time or a ratio is a number."""
        if ":" in node.value:
            raise _BadDocument(f"{node.value[:40]} is a number in base 60 to YAML; put it in quotes")
        return int(super().construct_yaml_int(node))

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        _check_unique(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        return super().construct_mapping(node, deep=deep)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def _check(node: Any, depth: int) -> None:
    """Plain data only, of a depth that no recipe exceeds, all of it encodable."""
    if depth == 0:
        raise _BadDocument("the recipe is nested too deeply")
    if isinstance(node, str):
        if _printable(node) != node:
            raise _BadDocument(f"'{_printable(node)}' is no valid Unicode text")
    elif isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str):
                raise _BadDocument(f"the key {key!r} is not a text; put it in quotes if it is meant as one")
            _check(key, depth - 1)
            _check(value, depth - 1)
    elif isinstance(node, list):
        for item in node:
            _check(item, depth - 1)
    elif isinstance(node, int) and node.bit_length() > _MAX_INTEGER_BITS:
        raise _BadDocument("a number in the recipe is too large to mean anything")
    elif not isinstance(node, bool | int | float | type(None)):
        raise _BadDocument(
            f"a {type(node).__name__} has no place in a recipe; put it in quotes if it is text"
        )


def _printable(text: str) -> str:
    """Lone surrogates replaced: they can't be encoded in an answer."""
    return text.encode(errors="replace").decode()
