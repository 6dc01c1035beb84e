"""The recipes that the README points at."""

from pathlib import Path

import pytest

from service.contracts.model import TensorEntry
from service.recipes.parse import parse_recipe
from service.recipes.plan import make_plan

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml"))
TENSORS = {
    "model.embed_tokens.weight": TensorEntry(shape=[32, 8], dtype="BF16"),
    **{
        f"model.layers.{layer}.self_attn.q_proj.weight": TensorEntry(shape=[8, 8], dtype="BF16")
        for layer in range(30)
    },
    "model.norm.weight": TensorEntry(shape=[8], dtype="BF16"),
}
ALIASES = {"smollm2", "safety", "general", "mix15", "en", "hi", "fr", "es", "ar", "ru"}


def test_there_are_examples_for_objectives_for_languages_and_for_safety() -> None:
    assert {path.stem.split("-")[0] for path in RECIPES} == {"objective", "language", "safety"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_example_works_on_the_demos_models(path: Path) -> None:
    recipe = parse_recipe(path.read_bytes())
    assert set(recipe.references()) <= ALIASES
    plan = make_plan(recipe, dict.fromkeys(recipe.references(), TENSORS))
    assert list(plan.tensors.items()) == list(TENSORS.items())
