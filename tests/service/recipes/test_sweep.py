"""A sweep stands for all combinations of its lists, and says where it can't."""

from typing import Any

import pytest

from service.contracts.problem import FieldProblem
from service.recipes.refusal import Refused
from service.recipes.sweep import expand

RECIPE: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "a"}, {"model": "b", "parameters": {"weight": 1.0}}],
    "parameters": {"density": 0.5},
}


def test_every_combination_is_a_recipe_and_the_last_key_varies_fastest() -> None:
    sweep = {
        "merge_method": ["ties", "dare_ties"],
        "parameters.density": [0.3, [0.2, 0.8]],
        "models[0].parameters.weight": [0.25],
    }
    variants = expand(RECIPE | {"sweep": sweep})
    assert [(v.varied["merge_method"], v.varied["parameters.density"]) for v in variants] == [
        ("ties", 0.3),
        ("ties", [0.2, 0.8]),
        ("dare_ties", 0.3),
        ("dare_ties", [0.2, 0.8]),
    ]
    assert variants[1].document == RECIPE | {
        "models": [{"model": "a", "parameters": {"weight": 0.25}}, RECIPE["models"][1]],
        "parameters": {"density": [0.2, 0.8]},
    }
    assert "sweep" not in variants[0].document
    assert RECIPE["models"][0] == {"model": "a"}, "what was given is left alone"


def test_a_recipe_without_a_sweep_is_itself() -> None:
    (variant,) = expand(RECIPE)
    assert (variant.document, variant.varied) == (RECIPE, {})


def test_a_problem_is_located_at_the_value_that_the_sweep_chose() -> None:
    _, second = expand(RECIPE | {"sweep": {"parameters.density": [0.3, 3]}}, ("recipes", 4))
    chosen = second.locate(FieldProblem(pointer="/parameters/density", detail="too large"))
    other = second.locate(FieldProblem(pointer="/models/0/model", detail="unknown"))
    assert chosen.pointer == "/recipes/4/sweep/parameters.density/1"
    assert other.pointer == "/recipes/4/models/0/model"


@pytest.mark.parametrize(
    ("sweep", "pointer", "hint"),
    [
        ([0.3], "/sweep", "mapping"),
        ({}, "/sweep", "mapping"),
        ({"parameters.t": 0.3}, "/sweep/parameters.t", "list"),
        ({"parameters.t": []}, "/sweep/parameters.t", "list"),
        ({"parameters.t": [0.3, 0.5, 0.3]}, "/sweep/parameters.t/2", "0.3 is in the list twice"),
        ({"parameters t": [1]}, "/sweep/parameters t", "parameters.t"),
        ({"models[2].parameters.weight": [1]}, "/sweep/models[2].parameters.weight", "nothing at /models/2"),
        ({"slices[0].parameters.t": [1]}, "/sweep/slices[0].parameters.t", "nothing at /slices"),
        ({"parameters.t": list(range(17)), "parameters.u": list(range(17))}, "/sweep", "289 combinations"),
    ],
)
def test_a_sweep_that_means_nothing_is_refused(sweep: Any, pointer: str, hint: str) -> None:
    with pytest.raises(Refused, match=hint) as refusal:
        expand(RECIPE | {"sweep": sweep})
    assert [problem.pointer for problem in refusal.value.problems] == [pointer]
