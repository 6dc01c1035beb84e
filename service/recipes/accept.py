"""Everything between a recipe as it was parsed and a job that can't fail for anything in it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.contracts.model import Manifest
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Recipe
from service.models.store import Store
from service.recipes.digest import model_id, pin
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan
from service.recipes.refusal import Refused, refuse
from service.recipes.sections import sections
from service.recipes.stored import Coming, plan_stored


@dataclass(frozen=True)
class Accepted:
    """A recipe that will work: its models pinned to ids, its plan, the id of its result."""

    recipe: Recipe
    plan: Plan
    seed: int
    model_id: str


def accept(
    document: Any,
    seed: int,
    resolve: Callable[[str], str],
    store: Store,
    *,
    plans: Callable[[Iterable[str]], Coming] = lambda ids: {},
    lenient: bool = False,
) -> Accepted:
    """Check, pin and plan what was parsed. Raises Refused.

    `resolve` turns a reference into an id or raises LookupError. `plans` are those of the ids that the store
    does not have yet. A lenient reader passes over unknown keys; `recipe.warnings` tells of them.
    """
    recipe = validate_recipe(document, lenient=lenient)
    ids = _resolve(recipe, resolve)
    coming = plans(ids.values())
    written = {part: store.manifest(id_) for part, id_ in ids.items() if id_ not in coming}
    _refuse_virtual(recipe, written)
    bases = {manifest.id: manifest.base for manifest in written.values() if manifest.base}
    pinned = pin(recipe, ids, bases, seed)
    _refuse_doubles(recipe, pinned)
    plan = plan_stored(pinned, store, seed, coming)
    return Accepted(recipe=pinned, plan=plan, seed=seed, model_id=model_id(pinned, seed))


def _resolve(recipe: Recipe, resolve: Callable[[str], str]) -> dict[str, str]:
    """The ids of all models and adapters. Raises Refused at every mention of one that nobody knows."""
    ids: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for reference in recipe.references():
        try:
            ids[reference] = resolve(reference)
        except LookupError as error:
            unknown[reference] = str(error)
    problems = [
        FieldProblem(pointer=json_pointer(*place), detail=unknown[part])
        for place, reference in recipe.all_mentions()
        for part in recipe.outside(reference)
        if part in unknown
    ]
    if problems:
        raise Refused(problems)
    return ids


def _refuse_virtual(recipe: Recipe, written: Mapping[str, Manifest]) -> None:
    """There are no weights of a virtual model to be read."""
    virtual = {part: manifest.id for part, manifest in written.items() if manifest.virtual}
    problems = [
        FieldProblem(
            pointer=json_pointer(*place),
            detail=f"'{part}' is a virtual model: write it first, "
            f"with POST /models/{virtual[part]}/materialize",
        )
        for place, reference in recipe.all_mentions()
        for part in recipe.outside(reference)
        if part in virtual
    ]
    if problems:
        raise Refused(problems)


def _refuse_doubles(recipe: Recipe, pinned: Recipe) -> None:
    """Two names of one model among the ingredients count it twice without saying so."""
    for index, (document, by_id) in enumerate(zip(recipe.documents, pinned.documents, strict=True)):
        for section, pinned_section in zip(sections(document), sections(by_id), strict=True):
            seen: dict[str, str] = {}
            for source, exact in zip(section.sources, pinned_section.sources, strict=True):
                other = seen.setdefault(exact.model, source.model)
                if other != source.model:
                    detail = f"'{source.model}' and '{other}' are the same model, {exact.model}; give it once"
                    raise refuse(*recipe.place(index), *source.place, "model", detail=detail)
