"""A recipe with lists under `sweep` stands for as many recipes as the lists have combinations.

    merge_method: ties
    models: [{model: safety}, {model: general}]
    base_model: base
    parameters: {weight: 1.0}
    sweep:
      parameters.density: [0.3, 0.5]
      models[0].parameters.weight: [0.5, 1.0, [0.0, 1.0]]

A key is a path into the recipe: names with dots between them, [n] for the n-th entry of a list, from 0.
A value is whatever may stand there. The last key varies fastest.
"""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from service.contracts.merges import MAX_VARIANTS
from service.contracts.problem import FieldProblem, Place, json_pointer
from service.recipes.refusal import refuse

_PATH = re.compile(r"[A-Za-z_]\w*(\[\d+\])*(\.[A-Za-z_]\w*(\[\d+\])*)*")
_STEP = re.compile(r"\[(\d+)\]|(\w+)")


@dataclass(frozen=True)
class Choice:
    """One value of one key of the sweep."""

    path: str
    steps: Place
    index: int
    value: Any


@dataclass(frozen=True)
class Variant:
    """A recipe, not checked yet, with the choices that were made for it and where it was in what was sent."""

    document: Any
    place: Place = ()
    choices: tuple[Choice, ...] = ()

    @property
    def varied(self) -> dict[str, Any]:
        return {choice.path: choice.value for choice in self.choices}

    def locate(self, problem: FieldProblem) -> FieldProblem:
        """The problem with a pointer into what was sent, instead of into this recipe."""
        for choice in self.choices:
            own = json_pointer(*choice.steps)
            if problem.pointer == own or problem.pointer.startswith(own + "/"):
                at = json_pointer(*self.place, "sweep", choice.path, choice.index)
                return FieldProblem(pointer=at + problem.pointer.removeprefix(own), detail=problem.detail)
        return FieldProblem(pointer=json_pointer(*self.place) + problem.pointer, detail=problem.detail)


def expand(document: Any, place: Place = ()) -> list[Variant]:
    """Every combination of the document's sweep, or the document itself if it has none. Raises Refused."""
    if not isinstance(document, dict) or "sweep" not in document:
        return [Variant(document, place)]
    recipe = {key: value for key, value in document.items() if key != "sweep"}
    combinations = product(*_axes(document["sweep"], (*place, "sweep")))
    return [Variant(_with(recipe, choices, place), place, choices) for choices in combinations]


def _axes(sweep: Any, place: Place) -> list[list[Choice]]:
    if not isinstance(sweep, Mapping) or not sweep:
        raise refuse(*place, detail="a mapping is needed, such as {parameters.t: [0.3, 0.5]}")
    axes = [_axis(path, values, (*place, path)) for path, values in sweep.items()]
    count = prod(len(axis) for axis in axes)
    if count > MAX_VARIANTS:
        raise refuse(*place, detail=f"the lists have {count} combinations; at most {MAX_VARIANTS} are taken")
    return axes


def _axis(path: str, values: Any, place: Place) -> list[Choice]:
    if not _PATH.fullmatch(path):
        detail = f"'{path}' is no path into a recipe, such as parameters.t or models[0].parameters.weight"
        raise refuse(*place, detail=detail)
    if not isinstance(values, list) or not values:
        raise refuse(*place, detail="a list of the values to try is needed")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise refuse(*place, index, detail=f"{json.dumps(value)} is in the list twice")
    steps = tuple(int(number) if number else name for number, name in _STEP.findall(path))
    return [Choice(path, steps, index, value) for index, value in enumerate(values)]


def _with(recipe: dict[str, Any], choices: tuple[Choice, ...], place: Place) -> dict[str, Any]:
    changed = deepcopy(recipe)
    for choice in choices:
        node: Any = changed
        for depth, step in enumerate(choice.steps):
            last = depth == len(choice.steps) - 1
            if not _leads_on(node, step, last):
                where = choice.path if last else json_pointer(*choice.steps[: depth + 1])
                raise refuse(*place, "sweep", choice.path, detail=f"the recipe has nothing at {where}")
            if last:
                node[step] = choice.value
            else:
                node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
    return changed


def _leads_on(node: Any, step: str | int, last: bool) -> bool:
    """Whether a path may take this step: the last one may set a key that is not there yet."""
    if isinstance(step, int):
        return isinstance(node, list) and step < len(node)
    return isinstance(node, dict) and (last or step in node or step == "parameters")
