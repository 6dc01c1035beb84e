"""A recipe over models of a store, as the merge engine takes it."""

from collections.abc import Mapping

import yaml

from service.contracts.recipe import Recipe
from service.models.store import Store
from service.recipes.labels import merge_method
from service.recipes.plan import Plan
from workers.merging.model_card import Ingredient
from workers.merging.model_folder import Merge
from workers.open_model import open_model


def stored_merge(
    recipe: Recipe, plan: Plan, store: Store, names: Mapping[str, str] | None = None, text: str | None = None
) -> Merge:
    """`recipe` and `plan` speak of ids; people see `names` in place of ids, and `text` as the recipe."""
    references = recipe.references()
    return Merge(
        recipe=recipe,
        recipe_text=text
        or yaml.safe_dump_all([document.canonical() for document in recipe.documents], sort_keys=False),
        plan=plan,
        ingredients=[_ingredient(ref, store, names or {}) for ref in references],
        folders={ref: store.path(ref) for ref in references},
        weights={ref: open_model(store.path(ref)) for ref in plan.models},
    )


def _ingredient(ref: str, store: Store, names: Mapping[str, str]) -> Ingredient:
    """With all that it was made of itself, as far as the store still has it."""
    manifest = store.manifest(ref)
    if manifest.base:
        origin, parents = "adapter on", [manifest.base]
    else:
        origin, parents = f"merge by {merge_method(manifest.recipe)} of", manifest.sources
    return Ingredient(
        name=names.get(ref, ref),
        id=ref,
        digest=manifest.content_digest or "",
        license=manifest.license,
        origin=origin,
        parents=tuple(_ingredient(parent, store, names) for parent in parents if store.has(parent)),
    )
