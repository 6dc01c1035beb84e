"""What holds for every registered merge method."""

import pkgutil
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodParameters
from service.recipes.parse import validate_recipe
from workers.merging import engine, methods
from workers.merging.engine import NotFinite
from workers.merging.methods import load_method

from .models import merged, random_models

SHAPES = {
    "model.embed_tokens.weight": (40, 24),
    "model.layers.0.attention.weight": (24, 24),
    "model.layers.1.attention.weight": (7, 24),
    "model.layers.1.experts.weight": (3, 5, 8),
    "model.norm.weight": (24,),
    "model.one.weight": (1, 1),
    "model.patches.weight": (6, 3, 2, 2),
    "model.scale": (),
    "model.unused.bias": (0,),
    "model.unused.weight": (0, 4),
    "model.unused_columns.weight": (4, 0),
}
NAMES = ("a", "b", "c")

ROOT = Path(__file__).parents[3]

every_method = pytest.mark.parametrize("method", sorted(METHODS))


def recipe(method: str, **changes: Any) -> dict[str, Any]:
    """As many models as the method takes, up to three, with the examples that its parameters give."""
    spec = METHODS[method]
    needs_base = spec.base in ("endpoint", "origin")
    count = min(spec.max_models or 3, 3) - (spec.base == "endpoint")
    return {
        "merge_method": method,
        "base_model": "base" if needs_base else None,
        "models": [
            {"model": name, "parameters": examples(spec.model_parameters, index)}
            for index, name in enumerate(NAMES[:count])
        ],
        "parameters": examples(spec.parameters, 0),
        **changes,
    }


def examples(schema: type[MethodParameters], index: int) -> dict[str, Any]:
    return {
        field.alias or name: field.examples[index % len(field.examples)]
        for name, field in schema.model_fields.items()
        if field.examples
    }


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=2e-6, atol=2e-6)


def test_every_contract_has_its_function_and_every_function_its_contract() -> None:
    assert {module.name for module in pkgutil.iter_modules(methods.__path__)} == set(METHODS)


def test_the_page_on_adding_a_method_quotes_its_example_as_it_is() -> None:
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    folders = ("service/contracts", "workers/merging")
    code = "".join((ROOT / folder / "methods" / "safemerge.py").read_text() for folder in folders)
    quoted = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(quoted) == 5
    assert [block for block in quoted if block not in code] == []


@every_method
def test_the_function_takes_what_the_contract_declares(method: str) -> None:
    spec, hints = METHODS[method], get_type_hints(load_method(method))
    assert spec.name == method
    assert hints["parameters"] is spec.parameters
    assert get_args(hints["models"]) == (spec.model_parameters,)


@every_method
def test_a_model_merged_with_itself_is_itself(method: str) -> None:
    model = random_models(shapes=SHAPES)["base"]
    found = merged(recipe(method), dict.fromkeys(("base", *NAMES), model))
    assert_close(found, model)


@every_method
def test_a_merge_is_more_than_its_base(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    found = merged(recipe(method), models)
    assert not torch.allclose(found["model.embed_tokens.weight"], models["base"]["model.embed_tokens.weight"])


@every_method
def test_the_order_of_the_models_matters_only_where_they_have_roles(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    forwards = merged(recipe(method), models)
    backwards = merged(recipe(method, models=recipe(method)["models"][::-1]), models)
    if METHODS[method].roles:
        assert not torch.allclose(forwards["model.norm.weight"], backwards["model.norm.weight"])
    else:
        assert_close(forwards, backwards)


@every_method
def test_tiles_do_not_matter(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    wanted = merged(recipe(method), models)
    for elements in (1, 50, 333):
        assert_close(merged(recipe(method), models, tile_elements=elements), wanted)


@every_method
@pytest.mark.parametrize("large", [1, 10**9], ids=["on one tensor", "on several tensors"])
def test_threads_do_not_change_a_bit(method: str, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when all of them work on one tensor, as on large ones, nor when each has its own."""
    monkeypatch.setattr(engine, "_LARGE_ELEMENTS", large)
    models = random_models(*NAMES, shapes=SHAPES)
    one, many = (merged(recipe(method), models, tile_elements=50, threads=count) for count in (1, 5))
    assert all(torch.equal(one[name], many[name]) for name in SHAPES)


@every_method
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_shapes_stay_and_the_dtype_is_the_one_asked_for(method: str, dtype: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    found = merged(recipe(method, out_dtype=dtype), models)
    wanted = merged(recipe(method), models)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == SHAPES
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted[name].to(getattr(torch, dtype)))


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_merged_in_float32_and_rounded_once(method: str, dtype: torch.dtype) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    halves = {model: {name: tensor.to(dtype) for name, tensor in models[model].items()} for model in models}
    wholes = {model: {name: tensor.float() for name, tensor in halves[model].items()} for model in models}
    found, wanted = merged(recipe(method), halves), merged(recipe(method), wholes)
    assert all(torch.equal(found[name], wanted[name].to(dtype)) for name in SHAPES)


@every_method
def test_integers_and_flags_are_the_first_models_or_the_bases(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    for number, tensors in enumerate(models.values()):
        tensors["model.position_ids"] = torch.arange(9).reshape(1, 9) + number
        tensors["model.layers.0.seen"] = torch.tensor(number, dtype=torch.int32)
        tensors["model.layers.0.mask"] = torch.arange(4).reshape(2, 2) > number
    donor = models[recipe(method)["base_model"] or "a"]
    found = merged(recipe(method, dtype="bfloat16"), models)
    for name in donor.keys() - SHAPES.keys():
        assert torch.equal(found[name], donor[name])
        assert found[name].dtype == donor[name].dtype


@every_method
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_found_in_every_source(method: str, bad: float) -> None:
    for source in validate_recipe(recipe(method)).references():
        models = random_models(*NAMES, shapes=SHAPES)
        models[source]["model.layers.1.attention.weight"][3, 5] = bad
        with pytest.raises(NotFinite, match=r"model\.layers\.1\.attention\.weight"):
            merged(recipe(method), models)


@every_method
def test_sources_are_left_alone(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    before = {model: {name: tensor.clone() for name, tensor in models[model].items()} for model in models}
    merged(recipe(method), models)
    assert all(torch.equal(models[model][name], before[model][name]) for model in models for name in SHAPES)


@every_method
def test_only_the_seed_of_random_methods_matters(method: str) -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    first, again, other = (merged(recipe(method), models, seed=seed) for seed in (1, 1, 2))
    name = "model.embed_tokens.weight"
    assert torch.equal(first[name], again[name])
    assert torch.equal(first[name], other[name]) != METHODS[method].random
