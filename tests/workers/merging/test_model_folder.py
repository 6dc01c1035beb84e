"""The folder of a merged model: whole, described, and resumed where nothing has changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from service.contracts.recipe import Recipe
from service.recipes.parse import validate_recipe
from service.sources.files import hash_file
from workers.merging.model_card import Ingredient
from workers.merging.model_folder import Computer, Merge, NoSpace, write_model

from .models import InMemory, plan_of, random_models

SHAPES = {f"model.layers.{index}.w": (64, 64) for index in range(6)}
MODELS = random_models("a", "b", shapes=SHAPES)
RECIPE = {
    "merge_method": "dare_ties",
    "base_model": "base",
    "models": [{"model": "a"}, {"model": "b"}],
    "parameters": {"weight": 0.5, "density": 0.5},
}
TENSOR_BYTES = 64 * 64 * 4
COMPUTER = Computer("cpu", 1, shard_bytes=2 * TENSOR_BYTES)
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


class Counting:
    """A Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.added: list[int] = []

    def expect(self, total: int) -> None:
        assert total == len(SHAPES) * TENSOR_BYTES

    def begin(self, tensor: str) -> None:
        assert tensor in SHAPES

    def add(self, count: int) -> None:
        self.added.append(count)

    def check(self) -> None:
        pass


@pytest.fixture
def what(tmp_path: Path) -> Merge:
    donor = tmp_path / "donor"
    donor.mkdir()
    (donor / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 6}')
    (donor / "tokenizer.json").write_text("{}")
    (donor / "README.md").write_text("The donor's own card")
    ingredients = [
        Ingredient(
            "org/a", "m_a", "1" * 64, "apache-2.0", "adapter on", (Ingredient("org/root", "m_r", ""),)
        ),
        Ingredient("org/b", "m_b", "2" * 64, "apache-2.0"),
    ]
    return Merge(
        recipe=Recipe.model_validate(RECIPE),
        recipe_text=yaml.safe_dump(RECIPE),
        plan=plan_of(RECIPE, MODELS),
        ingredients=ingredients,
        folders=dict.fromkeys(MODELS, donor),
        weights={name: InMemory(tensors) for name, tensors in MODELS.items()},
    )


def written(folder: Path, what: Merge) -> dict[str, str]:
    """sha256 by name of all that an undisturbed merge leaves in an empty folder."""
    folder.mkdir()
    write_model(folder, what, COMPUTER, Counting())
    return hashes(folder)


def broken_off(folder: Path, what: Merge) -> None:
    """Two of three shards are on record as finished when the merge finds no tokenizer."""
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        write_model(folder, replace(what, folders=dict.fromkeys(MODELS, folder)), COMPUTER, Counting())


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path).sha256 for path in folder.iterdir()}


def inodes(folder: Path) -> list[int]:
    return [(folder / name).stat().st_ino for name in SHARDS[:2]]


def test_it_holds_weights_config_tokenizer_recipe_and_a_card_that_tells_of_all(
    what: Merge, tmp_path: Path
) -> None:
    files = written(tmp_path / "out", what)

    index = "model.safetensors.index.json"
    assert set(files) == {*SHARDS, index, "config.json", "tokenizer.json", "README.md", "mergekit_config.yml"}
    card = (tmp_path / "out" / "README.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["base_model"] == ["org/a", "org/b"]
    assert {"merge", "polymerge"} <= set(matter["tags"])
    assert matter["license"] == "apache-2.0"
    for told in (
        "dare_ties",
        "1" * 64,
        "2" * 64,
        "org/a: adapter on\n  - org/root",
        torch.__version__,
        "--seed 0",
    ):
        assert told in card
    assert yaml.safe_load((tmp_path / "out" / "mergekit_config.yml").read_text()) == RECIPE
    for name in SHARDS:
        with safe_open(tmp_path / "out" / name, framework="pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["polymerge_recipe"])["merge_method"] == "dare_ties"
        assert json.loads(metadata["polymerge_sources"]) == {"m_a": "1" * 64, "m_b": "2" * 64}
        assert (metadata["polymerge_seed"], metadata["format"]) == ("0", "pt")


def test_a_merge_that_broke_off_goes_on_from_its_finished_shards(what: Merge, tmp_path: Path) -> None:
    undisturbed = written(tmp_path / "undisturbed", what)
    broken_off(tmp_path / "out", what)
    before = inodes(tmp_path / "out")

    progress = Counting()
    write_model(tmp_path / "out", what, COMPUTER, progress)

    assert inodes(tmp_path / "out") == before
    assert progress.added[0] == 4 * TENSOR_BYTES
    assert sum(progress.added) == 6 * TENSOR_BYTES
    assert hashes(tmp_path / "out") == undisturbed


def test_remarks_about_intermediates_in_finished_shards_are_kept(what: Merge, tmp_path: Path) -> None:
    safer = {
        "name": "safer",
        "merge_method": "safemerge",
        "base_model": "base",
        "models": [{"model": "a"}, {"model": "b"}],
        "parameters": {"threshold": 1.0},
    }
    last = {"merge_method": "linear", "models": [{"model": "safer"}], "parameters": {"weight": 1.0}}
    what = replace(what, recipe=validate_recipe([safer, last]), plan=plan_of([safer, last], MODELS))
    broken_off(tmp_path / "out", what)

    resumed = write_model(tmp_path / "out", what, COMPUTER, Counting())

    assert list(resumed.remarks) == [f"safer/{name}" for name in SHAPES]
    assert hashes(tmp_path / "out") == written(tmp_path / "undisturbed", what)


def another_seed(what: Merge, out: Path) -> Merge:
    return replace(what, plan=replace(what.plan, seed=7))


def another_recipe(what: Merge, out: Path) -> Merge:
    recipe = RECIPE | {"parameters": {"weight": 0.25, "density": 0.5}}
    return replace(what, recipe=Recipe.model_validate(recipe), plan=plan_of(recipe, MODELS))


def another_source(what: Merge, out: Path) -> Merge:
    return replace(what, ingredients=[what.ingredients[0], Ingredient("org/b", "m_b", "3" * 64)])


def damaged_shards(what: Merge, out: Path) -> Merge:
    for name in SHARDS[:2]:
        with (out / name).open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x55")
    return what


@pytest.mark.parametrize("change", [another_seed, another_recipe, another_source, damaged_shards])
def test_what_has_changed_is_done_again(
    what: Merge, tmp_path: Path, change: Callable[[Merge, Path], Merge]
) -> None:
    broken_off(tmp_path / "out", what)
    changed = change(what, tmp_path / "out")

    progress = Counting()
    write_model(tmp_path / "out", changed, COMPUTER, progress)

    assert progress.added[0] == 0
    assert hashes(tmp_path / "out") == written(tmp_path / "undisturbed", changed)


def test_too_little_space_is_told_in_numbers_before_anything_is_written(what: Merge, tmp_path: Path) -> None:
    huge = replace(what.plan.tasks[0], shape=(2**20, 2**30))
    too_large = replace(what, plan=replace(what.plan, tasks=(huge,)))
    (tmp_path / "out").mkdir()

    with pytest.raises(NoSpace, match=r"needs 45035\d\d\.\d\d GB more, the disk has \d+\.\d\d GB free"):
        write_model(tmp_path / "out", too_large, COMPUTER, Counting())

    assert list((tmp_path / "out").iterdir()) == []
