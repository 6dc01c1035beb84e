"""The name of a merge's result before a byte of it exists: a digest of all that the result follows from."""

import hashlib
import json
from typing import Any

from service.contracts.methods import METHODS
from service.contracts.recipe import Recipe

NUMERICS = 1
"""Raised whenever the same recipe would give other bytes than before."""


def pin(recipe: Recipe, ids: dict[str, str]) -> Recipe:
    """The recipe with every reference replaced by the id it stands for."""
    return Recipe.model_validate(_pinned(canonical(recipe), ids))


def _pinned(node: Any, ids: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_pinned(item, ids) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: ids[value] if key in ("model", "base_model") and isinstance(value, str) else _pinned(value, ids)
        for key, value in node.items()
    }


def canonical(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, defaults left out."""
    return recipe.model_dump(mode="json", exclude_defaults=True)


def model_id(pinned: Recipe, seed: int) -> str:
    """`m_` and 16 hex digits of the sha256 of the canonical JSON of recipe, seed and numerics.

    The seed counts only where the method draws random numbers.
    """
    matter = {
        "recipe": canonical(pinned),
        "seed": seed if METHODS[pinned.merge_method].random else 0,
        "numerics": NUMERICS,
    }
    text = json.dumps(matter, sort_keys=True, separators=(",", ":"))
    return "m_" + hashlib.sha256(text.encode()).hexdigest()[:16]
