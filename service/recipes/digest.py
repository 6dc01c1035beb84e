"""The name of a merge's result before a byte of it exists: a digest of all that the result follows from."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from service.contracts.methods import METHODS
from service.contracts.problem import Place
from service.contracts.recipe import Recipe, RecipeDocument, is_reference
from service.contracts.reference import split_reference
from service.recipes.intermediates import in_order
from service.recipes.refusal import refuse

NUMERICS = 3
"""Raised whenever the same recipe would give other bytes than before."""


def pin(recipe: Recipe, ids: Mapping[str, str], bases: Mapping[str, str], seed: int) -> Recipe:
    """The recipe with every reference replaced by the ids it stands for, and every name by a digest.

    An intermediate is called what its recipe's result would be called by itself, so that merging by way of
    it and merging with that result have one digest. `bases` has the models that adapters were registered on:
    put over that one, an adapter is the model of its own id. Raises Refused if two recipes are the same.
    """
    known = dict(ids)
    pinned: dict[int, RecipeDocument] = {}
    for index, document in in_order(recipe):
        data = _pinned(document.canonical(), (), known, bases)
        pinned[index] = RecipeDocument.model_validate(data)
        if document.name is not None:
            known[document.name] = model_id(pinned[index], seed)
            pinned[index] = pinned[index].model_copy(update={"name": known[document.name]})
    names = [pinned[index].name for index in sorted(pinned)]
    for index, name in enumerate(names):
        if name in names[:index]:
            (other,) = recipe.place(names.index(name))
            detail = f"recipe {other} makes the very same model; name it once"
            raise refuse(*recipe.place(index), "name", detail=detail)
    *intermediates, last = (pinned[index] for index in sorted(pinned))
    return Recipe.model_construct(
        **dict(last), intermediates=tuple(intermediates), position=recipe.position, warnings=recipe.warnings
    )


def pinned_reference(reference: str, ids: Mapping[str, str], bases: Mapping[str, str]) -> str:
    """`model+adapter` by ids; the adapter's alone where the model is its own base."""
    model, adapter = split_reference(reference)
    if adapter is None:
        return ids[model]
    return ids[adapter] if bases.get(ids[adapter]) == ids[model] else f"{ids[model]}+{ids[adapter]}"


def _pinned(node: Any, place: Place, ids: Mapping[str, str], bases: Mapping[str, str]) -> Any:
    if is_reference(place, node):
        return pinned_reference(node, ids, bases)
    if isinstance(node, list):
        return [_pinned(item, (*place, index), ids, bases) for index, item in enumerate(node)]
    if isinstance(node, dict):
        return {key: _pinned(value, (*place, key), ids, bases) for key, value in node.items()}
    return node


def canonical(recipe: Recipe) -> dict[str, Any] | list[dict[str, Any]]:
    """The recipe as plain data, defaults left out: a list if there are intermediates."""
    documents = [document.canonical() for document in recipe.documents]
    return documents if len(documents) > 1 else documents[0]


def model_id(pinned: RecipeDocument, seed: int) -> str:
    """`m_` and 16 hex digits of the sha256 of the canonical JSON of recipe, seed and numerics.

    The seed counts only where the method draws random numbers. Intermediates are in it by their names, which
    are digests themselves.
    """
    matter = {
        "recipe": {key: value for key, value in pinned.canonical().items() if key != "name"},
        "seed": seed if METHODS[pinned.merge_method].random else 0,
        "numerics": NUMERICS,
    }
    text = json.dumps(matter, sort_keys=True, separators=(",", ":"))
    return "m_" + hashlib.sha256(text.encode()).hexdigest()[:16]
