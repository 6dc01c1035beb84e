"""Equal merges have equal ids, different ones don't."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from service.models.store import Store
from service.recipes.accept import Accepted, accept
from service.recipes.digest import canonical, model_id, pin
from service.recipes.document import load_document
from service.recipes.parse import validate_recipe
from service.recipes.refusal import Refused
from tests.workers.serving.models import add_adapter, add_model

ADAPTERS = ["m_" + "a" * 16]
WIDE = "m_" + "e" * 16
ALIASES = {
    "base": "m_" + "0" * 16,
    "a": "m_" + "1" * 16,
    "b": "m_" + "2" * 16,
    "a-too": "m_" + "1" * 16,
    "lora": ADAPTERS[0],
    "wide": WIDE,
}
RECIPE: dict[str, Any] = {
    "merge_method": "dare_ties",
    "base_model": "base",
    "models": [
        {"model": "a", "parameters": {"weight": 0.5, "density": 0.5}},
        {"model": "b", "parameters": {"weight": 1, "density": 0.5}},
    ],
    "parameters": {"normalize": True},
    "dtype": "float32",
}


def resolve(reference: str) -> str:
    if reference in ALIASES.values():
        return reference
    if reference not in ALIASES:
        raise LookupError(f"no model '{reference}'")
    return ALIASES[reference]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With the models behind the aliases."""
    store = Store(tmp_path_factory.mktemp("store"))
    for model in sorted(set(ALIASES.values()) - {*ADAPTERS, WIDE}):
        add_model(store, model, {"w.weight": torch.zeros(8, 8)})
    add_model(store, WIDE, {"w.weight": torch.zeros(8, 9)})
    for adapter in ADAPTERS:
        add_adapter(store, adapter, store.manifest(ALIASES["base"]), "w")
    return store


Accept = Callable[..., Accepted]


@pytest.fixture
def accepted(store: Store) -> Accept:
    def accept_it(recipe: Any, seed: int = 0) -> Accepted:
        text = recipe if isinstance(recipe, str) else json.dumps(recipe)
        return accept(load_document(text), seed, resolve, store)

    return accept_it


def test_ways_of_writing_a_recipe_do_not_change_the_id(accepted: Accept) -> None:
    wanted = accepted(RECIPE).model_id
    reordered = dict(reversed(RECIPE.items()))
    by_id = json.loads(
        json.dumps(RECIPE).replace('"a"', f'"{ALIASES["a"]}"').replace('"base"', f'"{ALIASES["base"]}"')
    )
    same = [reordered, by_id, yaml.safe_dump(RECIPE), RECIPE | {"dtype": "torch.float32", "slices": None}]
    assert {accepted(recipe).model_id for recipe in same} == {wanted}


def test_models_that_only_give_tokens_are_pinned_too() -> None:
    """Also one whose alias is a word that means something else as the tokenizer's source."""

    def pinned(source: str, lender: str) -> str:
        row = {"kind": "model_token", "model": lender, "token_id": 0}
        tokens = {"w": {"source": lender}, "v": {"source": row}}
        recipe = validate_recipe(RECIPE | {"tokenizer": {"source": source, "tokens": tokens}})
        ids = ALIASES | {id_: id_ for id_ in ALIASES.values()}
        return model_id(pin(recipe, ids, {}, 0), 0)

    assert pinned("a", "base") == pinned("a-too", ALIASES["base"])
    assert pinned("base", "a") != pinned("a", "a")


def test_whatever_changes_the_result_changes_the_id(accepted: Accept) -> None:
    heavier = [RECIPE["models"][0], {"model": "b", "parameters": {"weight": 1.1, "density": 0.5}}]
    different = [
        RECIPE | {"dtype": "bfloat16"},
        RECIPE | {"out_dtype": "bfloat16"},
        RECIPE | {"models": heavier},
        RECIPE | {"models": RECIPE["models"][:1]},
        RECIPE | {"parameters": {"normalize": False}},
        RECIPE | {"base_model": "b", "models": [RECIPE["models"][0]]},
    ]
    ids = {accepted(recipe).model_id for recipe in different} | {accepted(RECIPE, seed=1).model_id}
    assert len(ids) == len(different) + 1
    assert accepted(RECIPE).model_id not in ids


def test_the_seed_counts_only_where_chance_does(accepted: Accept) -> None:
    ties = RECIPE | {"merge_method": "ties"}
    assert accepted(ties, seed=0).model_id == accepted(ties, seed=1).model_id


def test_models_that_are_not_registered_are_named_with_their_places(accepted: Accept) -> None:
    recipe = RECIPE | {"base_model": "bass", "models": [{"model": "a"}, {"model": "c"}]}
    with pytest.raises(Refused) as caught:
        accepted(recipe)
    assert [problem.pointer for problem in caught.value.problems] == ["/models/1/model", "/base_model"]


def test_two_aliases_of_one_model_are_refused(accepted: Accept) -> None:
    recipe = RECIPE | {"models": [RECIPE["models"][0], RECIPE["models"][0] | {"model": "a-too"}]}
    with pytest.raises(Refused, match="'a-too' and 'a' are the same model") as caught:
        accepted(recipe)
    assert caught.value.problems[0].pointer == "/models/1/model"


def linear(*models: str, **more: Any) -> dict[str, Any]:
    return {
        "merge_method": "linear",
        "models": [{"model": model, "parameters": {"weight": 1}} for model in models],
    } | more


def refusal(accepted: Accept, recipe: Any) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        accepted(recipe)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_an_adapter_over_another_model_is_pinned_with_it(accepted: Accept) -> None:
    found = accepted(linear("a+lora", "b"))
    assert next(found.recipe.mentions())[1] == f"{ALIASES['a']}+{ALIASES['lora']}"
    assert found.recipe.references() == [ALIASES["a"], ALIASES["lora"], ALIASES["b"]]
    assert found.plan.sources == (ALIASES["a"], ALIASES["lora"], ALIASES["b"])
    assert found.plan.models == {ALIASES["a"], ALIASES["b"]}
    assert found.plan.donor == f"{ALIASES['a']}+{ALIASES['lora']}"
    assert found.plan.stored_donor == ALIASES["a"]
    assert accepted(linear("b+lora", "b")).model_id != found.model_id


def test_an_adapter_over_its_own_base_is_the_model_it_is_registered_as(accepted: Accept) -> None:
    assert accepted(linear("base+lora", "a")).model_id == accepted(linear("lora", "a")).model_id
    assert "the same model" in refusal(accepted, linear("base+lora", "lora"))["/models/1/model"]


def test_what_stands_behind_a_plus_must_be_an_adapter_that_fits(accepted: Accept) -> None:
    assert "is no adapter" in refusal(accepted, linear("a+b"))["/models/0/model"]
    unfit = refusal(accepted, linear("b", "wide+lora"))["/models/1/model"]
    assert "'w.weight' is [8, 9]" in unfit
    assert WIDE in unfit
    found = refusal(accepted, linear("a+lroa", "nobody+lora", base_model="c+d"))
    assert list(found) == ["/models/0/model", "/models/1/model", "/base_model"]
    step = [linear("wide", name="step"), linear("a", "step+lora")]
    assert "'w.weight' is [8, 9]" in refusal(accepted, step)["/1/models/1/model"]


def test_an_intermediate_has_the_id_that_its_recipe_has_by_itself(accepted: Accept, store: Store) -> None:
    step = RECIPE | {"merge_method": "dare_ties"}
    alone = accepted(step, seed=4)
    streamed = accepted([step | {"name": "step"}, linear("step", "b")], seed=4)
    assert streamed.plan.models == set(alone.recipe.references())
    assert [document.name for document in streamed.recipe.intermediates] == [alone.model_id]
    if not store.has(alone.model_id):
        add_model(store, alone.model_id, {"w.weight": torch.zeros(8, 8)})
    in_two_steps = accept(
        linear(alone.model_id, "b"),
        4,
        lambda reference: reference if reference == alone.model_id else resolve(reference),
        store,
    )
    assert in_two_steps.model_id == streamed.model_id
    # Chance is in the intermediate only, and yet the seed counts.
    assert accepted([step | {"name": "step"}, linear("step", "b")], seed=5).model_id != streamed.model_id


def test_names_and_order_of_recipes_do_not_change_the_id(accepted: Accept) -> None:
    one, other = linear("a", "b"), linear("x", "base", merge_method="karcher")
    other["models"] = [{"model": "x"}, {"model": "base"}]
    wanted = accepted([one | {"name": "x"}, other | {"name": "y"}, linear("y", "b")])
    renamed = json.loads(json.dumps(other).replace('"x"', '"one"'))
    same = accepted([renamed | {"name": "two"}, one | {"name": "one"}, linear("two", "b")])
    assert same.model_id == wanted.model_id
    again = accepted(canonical(wanted.recipe))
    assert canonical(again.recipe) == canonical(wanted.recipe)
    assert again.model_id == wanted.model_id


def test_recipes_that_make_the_same_model_are_refused(accepted: Accept) -> None:
    recipes = [linear("a", name="x"), linear("a-too", name="y"), linear("x", "y")]
    assert "recipe 0 makes the very same model" in refusal(accepted, recipes)["/1/name"]


def test_what_an_intermediate_lacks_is_told_in_its_recipe(accepted: Accept) -> None:
    recipes = [linear("a", "wide", name="x"), linear("x", "b")]
    assert "another shape" in refusal(accepted, recipes)["/0/models/1/model"]
    recipes = [linear("wide", name="x"), linear("x", "b")]
    assert "another shape" in refusal(accepted, recipes)["/1/models/1/model"]
    recipes = [linear("nobody", name="x"), linear("x", "b")]
    assert "no model 'nobody'" in refusal(accepted, recipes)["/0/models/0/model"]
