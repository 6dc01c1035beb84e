"""What POST /merges is sent: a recipe, a recipe with a sweep, or a list of either under `recipes`."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from service.contracts.merges import MAX_VARIANTS
from service.contracts.problem import FieldProblem, json_pointer
from service.models.store import Store
from service.recipes.accept import Accepted, accept
from service.recipes.document import load_document
from service.recipes.refusal import Refused, nearest, refuse
from service.recipes.stored import Coming
from service.recipes.sweep import Variant, expand

_LIST_KEYS = {"recipes", "materialize"}


@dataclass(frozen=True)
class Submission:
    """`materialize`, which may stand beside a recipe, and the recipes; `single` if there can be but one."""

    variants: list[Variant]
    single: bool
    materialize: bool | None = None


def read_submission(text: bytes) -> Submission:
    """Raises Refused."""
    document = load_document(text)
    if not isinstance(document, dict):
        return Submission([Variant(document)], single=True)
    materialize = document.pop("materialize", None)
    if not isinstance(materialize, bool | None):
        raise refuse("materialize", detail=f"true or false is needed, found {json.dumps(materialize)}")
    if "recipes" in document:
        return Submission(_listed(document), single=False, materialize=materialize)
    return Submission(expand(document), single="sweep" not in document, materialize=materialize)


def accept_all(
    submission: Submission,
    seed: int,
    resolve: Callable[[str], str],
    store: Store,
    plans: Callable[[Iterable[str]], Coming],
    lenient: bool,
) -> list[Accepted]:
    """Every recipe as accept() takes it, or none. Raises Refused, with pointers into what was sent."""
    accepted: list[Accepted] = []
    problems: dict[FieldProblem, Variant] = {}
    for variant in submission.variants:
        try:
            merge = accept(variant.document, seed, resolve, store, plans=plans, lenient=lenient)
            accepted.append(merge)
        except Refused as error:
            for problem in error.problems:
                problems.setdefault(variant.locate(problem), variant)
    if problems:
        raise Refused([_explain(problem, variant) for problem, variant in problems.items()])
    return accepted


def _listed(document: dict[str, Any]) -> list[Variant]:
    for key in document:
        if key not in _LIST_KEYS:
            raise refuse(key, detail=f"unknown key '{key}' beside `recipes`: {nearest(key, _LIST_KEYS)}")
    recipes = document["recipes"]
    if not isinstance(recipes, list) or not recipes:
        raise refuse("recipes", detail="a list of recipes is needed")
    variants = [found for index, item in enumerate(recipes) for found in expand(item, ("recipes", index))]
    if len(variants) > MAX_VARIANTS:
        detail = f"these are {len(variants)} recipes; at most {MAX_VARIANTS} are taken"
        raise refuse("recipes", detail=detail)
    return variants


def _explain(problem: FieldProblem, variant: Variant) -> FieldProblem:
    """Which combination it is that can't work, unless the pointer says so."""
    if not variant.choices or problem.pointer.startswith(json_pointer(*variant.place, "sweep")):
        return problem
    choices = ", ".join(f"{path} {json.dumps(value)}" for path, value in variant.varied.items())
    return FieldProblem(pointer=problem.pointer, detail=f"{problem.detail} (with {choices})")
