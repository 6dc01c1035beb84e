"""What is wrong with a recipe is told at its place, before anything is queued."""

import json
from typing import Any

import pytest
import yaml

from service.contracts.methods import METHODS
from service.recipes.digest import canonical
from service.recipes.intermediates import in_order
from service.recipes.parse import parse_recipe
from service.recipes.refusal import Refused

TIES: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [
        {"model": "a", "parameters": {"weight": 0.5, "density": 0.5}},
        {"model": "b", "parameters": {"weight": 0.5}},
    ],
}
SLERP: dict[str, Any] = {
    "merge_method": "slerp",
    "base_model": "a",
    "models": [{"model": "a"}, {"model": "b"}],
    "parameters": {"t": 0.5},
}
SLICES: dict[str, Any] = {
    "merge_method": "linear",
    "slices": [{"sources": [{"model": "a", "layer_range": [0, 2], "parameters": {"weight": 1}}]}],
}


def refusal(recipe: object) -> dict[str, str]:
    """Detail by pointer."""
    text = recipe if isinstance(recipe, str | bytes) else json.dumps(recipe)
    with pytest.raises(Refused) as caught:
        parse_recipe(text)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def with_model(index: int, **changes: object) -> dict[str, Any]:
    models = [dict(item) for item in TIES["models"]]
    models[index] |= changes
    return TIES | {"models": models}


@pytest.mark.parametrize(
    ("recipe", "pointer", "words"),
    [
        (TIES | {"merge_method": "tise"}, "/merge_method", "unknown method 'tise': did you mean 'ties'?"),
        (TIES | {"merge_method": 5}, "/merge_method", "text"),
        ({"models": TIES["models"]}, "/merge_method", "required"),
        (TIES | {"parmeters": {}}, "/parmeters", "did you mean 'parameters'?"),
        (TIES | {"dtype": "int8"}, "/dtype", "'int8' is none of float32, float16, bfloat16"),
        (TIES | {"parameters": {"densty": 0.5}}, "/parameters/densty", "did you mean 'density'?"),
        (TIES | {"parameters": {"a/b": 0.5}}, "/parameters/a~1b", "unknown parameter"),
        (with_model(1, weight=2), "/models/1/weight", "unknown key 'weight'"),
        (with_model(1, parameters={"lambda": 2}), "/models/1/parameters/lambda", "top-level parameters"),
        (with_model(1, parameters={"weigth": 2}), "/models/1/parameters/weigth", "did you mean 'weight'?"),
        (with_model(1, model="a"), "/models/1/model", "listed twice"),
        (with_model(0, model=False), "/models/0/model", "quotes"),
        (with_model(0, parameters={"weight": "much"}), "/models/0/parameters/weight", "expected a number"),
        (with_model(0, parameters={"weight": []}), "/models/0/parameters/weight", "expected a number"),
        (with_model(0, parameters={"weight": float("nan")}), "/models/0/parameters/weight", "finite"),
        (with_model(0, parameters={"weight": 10**400}), "/models/0/parameters/weight", "expected a number"),
        (with_model(0, parameters={"weight": {"value": 1}}), "/models/0/parameters/weight", "must be a list"),
        (
            with_model(0, parameters={"weight": [{"value": 1, "filtre": "mlp"}]}),
            "/models/0/parameters/weight/0/filtre",
            "unknown key 'filtre': a condition has the keys `value` and",
        ),
        ({k: v for k, v in TIES.items() if k != "base_model"}, "/base_model", "ties needs base_model"),
        (SLERP | {"base_model": None}, "/base_model", "slerp needs base_model"),
        (SLERP | {"models": [{"model": "a"}]}, "/models", "exactly 2 models, found 1"),
        (SLERP | {"models": [*SLERP["models"], {"model": "c"}]}, "/models", "exactly 2 models, found 3"),
        (TIES | {"models": [{"model": "base"}]}, "/models", "at least 1 model beside base_model, found 0"),
        (TIES | {"models": []}, "/models", "not be empty"),
        (TIES | {"models": "a"}, "/models", "a list is needed"),
        ({"merge_method": "ties", "base_model": "b"}, "/models", "found none of them"),
        (SLICES | {"models": TIES["models"]}, "/models", "found models and slices"),
        (
            {"merge_method": "linear", "slices": [{"sources": [{"model": "a", "layer_range": [2, 2]}]}]},
            "/slices/0/sources/0/layer_range",
            "start below end",
        ),
        (
            {"merge_method": "linear", "slices": [{"sources": [{"model": "a", "layer_rang": [0, 2]}]}]},
            "/slices/0/sources/0/layer_rang",
            "did you mean 'layer_range'?",
        ),
        (
            SLICES | {"slices": [SLICES["slices"][0] | {"merge_method": "slerp"}]},
            "/slices/0/merge_method",
            "valid",
        ),
        (
            SLICES | {"merge_method": "ties", "base_model": "b"},
            "/slices/0/sources",
            "'b', among the slice's sources",
        ),
    ],
)
def test_a_bad_recipe_is_refused_at_its_place(recipe: object, pointer: str, words: str) -> None:
    found = refusal(recipe)
    assert pointer in found
    assert words in found[pointer]


def named(name: str, *models: str, **more: Any) -> dict[str, Any]:
    """A recipe in a list: the mean of the models."""
    ingredients = [{"model": model, "parameters": {"weight": 1}} for model in models]
    return {"name": name, "merge_method": "linear", "models": ingredients} | more


def last(*models: str, **more: Any) -> dict[str, Any]:
    recipe = named("", *models, **more)
    del recipe["name"]
    return recipe


@pytest.mark.parametrize(
    ("recipes", "pointer", "words"),
    [
        ([], "", "found 0 in all"),
        ([TIES], "", "found 1 in all"),
        ([TIES] * 65, "", "found 65 in all"),
        (["a", TIES], "/0", "a mapping"),
        ([TIES, last("x")], "/0/name", "needs a name"),
        ([named("x", "a"), named("x", "b"), last("x")], "/1/name", "'x' is the name of recipe 0 already"),
        ([named("x+y", "a"), last("x")], "/0/name", "has a +"),
        ([named("x", "a"), named("y", "x")], "/1/name", "`name` is for what others are made from"),
        ([named("x", "a"), named("y", "b"), last("x")], "/1/name", "no other recipe refers to 'y'"),
        ([named("x", "a", "x"), last("x")], "/0/models/1/model", "made from itself: x from x"),
        (
            [named("x", "y"), named("y", "a", base_model="x+lora"), last("x")],
            "/1/base_model",
            "made from itself: x from y from x",
        ),
        ([named("x", "a", typo=1), last("x")], "/0/typo", "unknown key"),
        ([named("x", "a"), last("x", "x")], "/1/models/1/model", "listed twice"),
        ([named("x", "a+b+c"), last("x")], "/0/models/0/model", "one adapter over it"),
        ([named("x", "a"), last("x+")], "/1/models/0/model", "one adapter over it"),
    ],
)
def test_recipes_that_refer_to_each_other_wrongly_are_refused(
    recipes: list[Any], pointer: str, words: str
) -> None:
    assert words in refusal(recipes)[pointer]


def test_documents_may_refer_to_each_other_in_any_order() -> None:
    text = "---\n".join(yaml.safe_dump(item) for item in (named("x", "y"), named("y", "a+l"), last("x", "b")))
    recipe = parse_recipe(text)
    assert recipe.references() == ["a", "l", "b"]
    assert [index for index, _ in in_order(recipe)] == [1, 0, 2]


def test_the_result_is_the_recipe_without_a_name_wherever_it_stands() -> None:
    recipes = [named("x", "a"), last("y", "b"), named("y", "x")]
    recipe = parse_recipe(json.dumps(recipes))
    assert canonical(recipe) == canonical(parse_recipe(json.dumps([recipes[0], recipes[2], recipes[1]])))
    assert [place for place, reference in recipe.all_mentions() if reference == "x"] == [
        (2, "models", 0, "model")
    ]
    assert [place for place, reference in recipe.all_mentions() if reference == "b"] == [
        (1, "models", 1, "model")
    ]

    assert "unknown key" in refusal([recipes[0], recipes[1] | {"typo": 1}, recipes[2]])["/1/typo"]
    assert "no other recipe" in refusal([last("x"), named("x", "a"), named("y", "x")])["/2/name"]
    assert "made from itself" in refusal([last("x"), named("x", "x")])["/1/models/0/model"]


def test_mergekits_long_form_of_a_reference_is_taken() -> None:
    path = {"model": {"path": "a", "revision": "v1"}, "lora": {"path": "l"}, "override_architecture": None}
    recipe = parse_recipe(json.dumps(last() | {"models": [{"model": path, "parameters": {"weight": 1}}]}))
    assert recipe.references() == ["a@v1", "l"]
    found = refusal(last() | {"models": [{"model": {"pth": "a"}}]})
    assert "a model is an id or alias" in found["/models/0/model"]


UNKNOWN = TIES | {
    "models": [
        {"model": "a", "wieght": 1, "parameters": {"weight": [{"value": 1, "flter": "x"}], "lambda": 2}}
    ],
    "parameters": {"densty": 1},
    "name": "mine",
    "x-note": 1,
}
IGNORED = {
    "/models/0/wieght",
    "/models/0/parameters/weight/0/flter",
    "/models/0/parameters/lambda",
    "/parameters/densty",
    "/name",
    "/x-note",
}


def test_leniency_turns_unknown_keys_into_warnings() -> None:
    plain = parse_recipe(json.dumps(TIES | {"models": [{"model": "a", "parameters": {"weight": 1}}]}))
    for recipe in (
        parse_recipe(json.dumps(UNKNOWN), lenient=True),
        parse_recipe(json.dumps(UNKNOWN | {"strict": False})),
    ):
        assert {warning.pointer for warning in recipe.warnings} == IGNORED
        assert canonical(recipe) == canonical(plain)
    listed = parse_recipe(json.dumps([named("x", "a", typo=1, strict=False), last("x")]))
    assert [warning.pointer for warning in listed.warnings] == ["/0/typo"]


@pytest.mark.parametrize(
    "method", ["slerp", "karcher", "model_stock", "sce", "arcee_fusion", "nearswap", "ram"]
)
def test_a_parameter_that_only_other_methods_read_is_passed_over_with_a_warning(method: str) -> None:
    """mergekit's own recipes give every model a weight, whatever the method."""
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in ("a", "b")]
    beside = {"base_model": "a" if METHODS[method].max_models else "base", "parameters": {"t": 0.5}}
    recipe = parse_recipe(yaml.safe_dump({"merge_method": method, "models": models, **beside}))

    plain = [{"model": item["model"]} for item in models]
    assert recipe.canonical()["models"] == plain
    told = {warning.pointer: warning.detail for warning in recipe.warnings}
    assert told["/models/1/parameters/weight"] == f"{method} does not read 'weight': it changes nothing here"
    assert ("/parameters/t" in told) == (method not in ("slerp", "nearswap"))


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"merge_method": "tise"}, "/merge_method"),
        ({"dtype": "int8"}, "/dtype"),
        ({"base_model": None}, "/base_model"),
        ({"parameters": {"weight": "much"}}, "/parameters/weight"),
        ({"parameters": {"weight": {"value": 1}}}, "/parameters/weight"),
        ({"strict": "no"}, "/strict"),
    ],
)
def test_leniency_ends_there(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_recipe(json.dumps(UNKNOWN | change), lenient=True)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_every_problem_is_told_at_once() -> None:
    recipe = with_model(1, parameters={"weigth": 2}) | {"parameters": {"densty": 1}}
    assert set(refusal(recipe)) == {"/models/1/parameters/weigth", "/parameters/densty"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a mapping"),
        ("merge_method: [", "neither JSON nor YAML"),
        (b"\xff\xfe\x00", "neither JSON nor YAML"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases"),
        ("a: !!python/object:os.system {}\n", "neither JSON nor YAML"),
        ("merge_method: ties\nmerge_method: slerp\n", "'merge_method' is there twice"),
        ('{"merge_method": "ties", "merge_method": "slerp"}', "'merge_method' is there twice"),
        ('{"merge_method": "\\ud800"}', "no valid Unicode"),
        ("1: 2\n", "not a text"),
        ("merge_method: 2020-01-01\n", "a date has no place"),
        ("merge_method: 1" + ":1" * 3000 + "\n", "base 60"),
        ("merge_method: 0x" + "f" * 5000 + "\n", "too large"),
        ("a: " * 200, "neither JSON nor YAML"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
        ("x" * 300_000, "at most 262144"),
    ],
)
def test_a_text_that_is_no_plain_document_is_refused(text: str | bytes, words: str) -> None:
    assert words in refusal(text)[""]


def test_mergekits_ways_of_writing_are_taken() -> None:
    recipe = parse_recipe(
        """
        merge_method: ties
        base_model: base
        models:
          - model: base
          - model: a
            parameters: {weight: 1, density: [1, 0.5]}
          - model: b
            parameters:
              weight:
                - filter: mlp
                  value: [0, 1.5e-1]
                - value: 1e-1
        parameters: {normalize: true, int8_mask: true, lambda: 1.1}
        slices: null
        dtype: torch.bfloat16
        """
    )
    assert recipe.dtype == "bfloat16"
    assert recipe.references() == ["base", "a", "b"]
    assert recipe.models is not None
    first, second = recipe.models[2].parameters["weight"]
    assert (first.filter, first.value) == ("mlp", (0.0, 0.15))
    assert (second.filter, second.value) == (None, (0.1,))
