"""Everything between the text of a recipe and a job that can't fail for anything in that text."""

from collections.abc import Callable
from dataclasses import dataclass

from service.contracts.model import Manifest
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Recipe
from service.recipes.digest import model_id, pin
from service.recipes.parse import parse_recipe
from service.recipes.plan import Plan, make_plan
from service.recipes.refusal import Refused, refuse
from service.recipes.sections import sections


@dataclass(frozen=True)
class Accepted:
    """A recipe that will work: its models pinned to ids, its plan, the id of its result."""

    recipe: Recipe
    plan: Plan
    seed: int
    model_id: str


def accept(
    text: bytes, seed: int, resolve: Callable[[str], str], manifest: Callable[[str], Manifest]
) -> Accepted:
    """Parse, pin and plan. `resolve` turns a reference into an id or raises LookupError. Raises Refused."""
    recipe = parse_recipe(text)
    ids, problems = {}, []
    for reference in recipe.references():
        try:
            ids[reference] = resolve(reference)
        except LookupError as error:
            problems += [FieldProblem(pointer=at, detail=str(error)) for at in _places(recipe, reference)]
    if problems:
        raise Refused(problems)
    pinned = pin(recipe, ids)
    _refuse_doubles(recipe, ids)
    tables = {id_: manifest(id_).tensors for id_ in ids.values()}
    plan = make_plan(pinned, tables, seed)
    return Accepted(recipe=pinned, plan=plan, seed=seed, model_id=model_id(pinned, seed))


def _places(recipe: Recipe, reference: str) -> list[str]:
    """Pointers to every mention of a model."""
    places = [
        json_pointer(*source.place, "model")
        for section in sections(recipe)
        for source in section.sources
        if source.model == reference
    ]
    places += [
        json_pointer("slices", index, "base_model")
        for index, item in enumerate(recipe.slices or ())
        if item.base_model == reference
    ]
    return places + (["/base_model"] if recipe.base_model == reference else [])


def _refuse_doubles(recipe: Recipe, ids: dict[str, str]) -> None:
    """Two aliases of one model among the ingredients count it twice without saying so."""
    for section in sections(recipe):
        seen: dict[str, str] = {}
        for source in section.sources:
            other = seen.setdefault(ids[source.model], source.model)
            if other != source.model:
                detail = (
                    f"'{source.model}' and '{other}' are the same model, {ids[source.model]}; give it once"
                )
                raise refuse(*source.place, "model", detail=detail)
