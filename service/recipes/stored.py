"""Planning over models of the store."""

from service.contracts.recipe import Recipe
from service.contracts.reference import split_reference
from service.recipes.plan import Plan, make_plan
from service.recipes.refusal import refuse
from service.sources.adapter import Factors, read_factors
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import token_source
from service.store import Store


def plan_stored(recipe: Recipe, store: Store, seed: int) -> Plan:
    """Plan a recipe whose models are pinned to ids. Raises Refused."""
    tables = {id_: store.manifest(id_).tensors for id_ in recipe.references()}
    return make_plan(
        recipe, tables, seed, _adapters(recipe, store), lambda id_: token_source(store.path(id_))
    )


def _adapters(recipe: Recipe, store: Store) -> dict[str, Factors]:
    """Of every id that stands behind a +. Raises Refused where one is no adapter."""
    found: dict[str, Factors] = {}
    for place, reference in recipe.all_mentions():
        _, adapter = split_reference(reference)
        if adapter is None or adapter in found:
            continue
        if store.manifest(adapter).weights != "adapter":
            raise refuse(*place, detail=f"{adapter}, behind the +, is no adapter but a whole model")
        try:
            found[adapter] = read_factors(store.path(adapter))
        except (Malformed, OSError) as error:
            raise refuse(*place, detail=f"{adapter}: {error}") from None
    return found
