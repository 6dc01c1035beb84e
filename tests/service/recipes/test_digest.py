"""Equal merges have equal ids, different ones don't."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from service.recipes.accept import Accepted, accept
from service.recipes.document import load_document
from service.recipes.refusal import Refused
from service.store import Store
from tests.workers.serving.models import add_model

ALIASES = {"base": "m_" + "0" * 16, "a": "m_" + "1" * 16, "b": "m_" + "2" * 16, "a-too": "m_" + "1" * 16}
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
    for model in sorted(set(ALIASES.values())):
        add_model(store, model, {"w": torch.zeros(8, 8)})
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
