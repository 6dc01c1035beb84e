"""Everything between the text of a recipe and a job that can't fail for anything in that text."""

from collections.abc import Callable
from dataclasses import dataclass

from service.contracts.model import Manifest
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Recipe
from service.recipes.digest import model_id, pin
from service.recipes.parse import parse_recipe
from service.recipes.plan import Plan, make_plan
from service.recipes.refusal import Refused


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
    return Accepted(recipe=pinned, plan=make_plan(pinned, tables, seed), seed=seed, model_id=model_id(pinned, seed))


def _places(recipe: Recipe, reference: str) -> list[str]:
    places = [
        json_pointer("models", index, "model")
        for index, item in enumerate(recipe.models)
        if item.model == reference
    ]
    return places + (["/base_model"] if recipe.base_model == reference else [])


def _refuse_doubles(recipe: Recipe, ids: dict[str, str]) -> None:
    """Two aliases of one model among the ingredients count it twice without saying so."""
    seen: dict[str, str] = {}
    for index, item in enumerate(recipe.models):
        other = seen.setdefault(ids[item.model], item.model)
        if other != item.model:
            detail = f"'{item.model}' and '{other}' are the same model, {ids[item.model]}; give it once"
            raise Refused([FieldProblem(pointer=json_pointer("models", index, "model"), detail=detail)])
