"""The name of a merge's result before a byte of it exists: a digest of all that the result follows from."""

import hashlib
import json
from typing import Any

from service.contracts.recipe import Recipe

NUMERICS = 1
"""Raised whenever the same recipe would give other bytes than before."""


def pin(recipe: Recipe, ids: dict[str, str]) -> Recipe:
    """The recipe with every reference replaced by the id it stands for."""
    return recipe.model_copy(
        update={
            "models": tuple(
                item.model_copy(update={"model": ids[item.model]}) for item in recipe.models
            ),
            "base_model": ids[recipe.base_model] if recipe.base_model else None,
        }
    )


def canonical(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, defaults left out."""
    return recipe.model_dump(mode="json", exclude_defaults=True)


def model_id(pinned: Recipe, seed: int) -> str:
    """`m_` and 16 hex digits of the sha256 of the canonical JSON of recipe, seed and numerics."""
    text = json.dumps(
        {"recipe": canonical(pinned), "seed": seed, "numerics": NUMERICS}, sort_keys=True, separators=(",", ":")
    )
    return "m_" + hashlib.sha256(text.encode()).hexdigest()[:16]
