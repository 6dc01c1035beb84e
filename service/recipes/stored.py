"""Planning over models of the store, and over those that jobs are still to write into it."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from service.contracts.recipe import Recipe
from service.contracts.reference import split_reference
from service.models.store import Store
from service.recipes.plan import Plan, make_plan, tokens_of
from service.recipes.refusal import refuse
from service.sources.adapter import Factors, read_factors
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import token_source

Coming = Mapping[str, Plan]
"""By id: models that are still to be written, and all that their plans refer to and is not written either."""


def plan_stored(recipe: Recipe, store: Store, seed: int, coming: Coming = MappingProxyType({})) -> Plan:
    """Plan a recipe whose models are pinned to ids. Raises Refused."""
    tables = {
        id_: coming[id_].tensors if id_ in coming else store.manifest(id_).tensors
        for id_ in recipe.references()
    }
    read_tokens = partial(tokens_of, coming, lambda id_: token_source(store.path(id_)))
    return make_plan(recipe, tables, seed, _adapters(recipe, store, coming), read_tokens)


def _adapters(recipe: Recipe, store: Store, coming: Coming) -> dict[str, Factors]:
    """Of every id that stands behind a +. Raises Refused where one is no adapter."""
    found: dict[str, Factors] = {}
    for place, reference in recipe.all_mentions():
        _, adapter = split_reference(reference)
        if adapter is None or adapter in found:
            continue
        if adapter in coming or store.manifest(adapter).weights != "adapter":
            raise refuse(*place, detail=f"{adapter}, behind the +, is no adapter but a whole model")
        try:
            found[adapter] = read_factors(store.path(adapter))
        except (Malformed, OSError) as error:
            raise refuse(*place, detail=f"{adapter}: {error}") from None
    return found
