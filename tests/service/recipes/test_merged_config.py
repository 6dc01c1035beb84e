"""config.json tells what a merge has made of the donor."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.recipes.merged_config import merged_config
from service.recipes.plan import Plan
from tests.workers.merging.models import plan_of, random_models

CONFIG = {"num_hidden_layers": 3, "torch_dtype": "float32", "hidden_size": 8}
MODELS = random_models("a", "b", shapes={f"model.layers.{index}.w": (8, 8) for index in range(3)})


def stacked(*ranges: tuple[str, int, int]) -> Plan:
    slices = [{"sources": [{"model": model, "layer_range": [start, end]}]} for model, start, end in ranges]
    return plan_of({"merge_method": "passthrough", "slices": slices}, MODELS)


def copied(**recipe: Any) -> Plan:
    return plan_of({"merge_method": "passthrough", "models": [{"model": "a"}], **recipe}, MODELS)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_dtype_is_the_results_under_the_name_that_the_donor_gave_it(key: str) -> None:
    config = {key: "float32", "text_config": {"num_hidden_layers": 3, key: "float32"}, "vision_config": {}}
    assert merged_config({"a": config}, copied(dtype="bfloat16")) == {
        key: "bfloat16",
        "text_config": {"num_hidden_layers": 3, key: "bfloat16"},
        "vision_config": {},
    }
    assert merged_config({"a": {}}, copied(out_dtype="float16")) == {"dtype": "float16"}


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_layers"])
def test_slices_change_the_number_of_layers(key: str) -> None:
    made = merged_config({"a": {key: 3, "hidden_size": 8}}, stacked(("a", 0, 3), ("a", 1, 3)))
    assert made == {key: 5, "hidden_size": 8, "dtype": "float32"}


def test_what_a_config_says_of_each_layer_follows_the_layers() -> None:
    a = CONFIG | {"layer_types": ["full", "sliding", "full"], "mlp_only_layers": [1], "moe_layers": []}
    b = CONFIG | {"layer_types": ["linear", "full", "linear"], "mlp_only_layers": [0, 2], "moe_layers": [1]}
    found = merged_config({"a": a, "b": b}, stacked(("a", 1, 3), ("b", 0, 2), ("a", 1, 2)))
    assert found == CONFIG | {
        "num_hidden_layers": 5,
        "layer_types": ["sliding", "full", "linear", "full", "sliding"],
        "mlp_only_layers": [0, 2, 4],
        "moe_layers": [3],
    }


def test_lists_of_other_things_stay() -> None:
    other = {
        "architectures": ["X"] * 3,
        "eos_token_id": [1, 2, 3],
        "rope_scaling": {"long_factor": [1.0, 2.0, 3.0]},
        "out": [1, 2],
    }
    found = merged_config({"a": CONFIG | other}, stacked(("a", 0, 2)))
    assert found == CONFIG | other | {"num_hidden_layers": 2}


def test_in_a_multimodal_config_it_is_the_language_models_layers_that_change() -> None:
    text = {"num_hidden_layers": 3, "layer_types": ["full", "sliding", "full"]}
    config = {"text_config": text, "vision_config": {"num_hidden_layers": 3}, "dtype": "float32"}
    assert merged_config({"a": config}, stacked(("a", 0, 2))) == {
        "text_config": {"num_hidden_layers": 2, "layer_types": ["full", "sliding"]},
        "vision_config": {"num_hidden_layers": 3},
        "dtype": "float32",
    }


FIVE = stacked(("a", 0, 2), ("b", 0, 3))
KEYS = st.sampled_from(
    [
        "num_hidden_layers",
        "n_layer",
        "layer_types",
        "mlp_only_layers",
        "dtype",
        "text_config",
        "vision_config",
    ]
)
VALUES = st.recursive(
    st.none() | st.integers(-1, 4) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
@settings(deadline=None)
def test_no_config_ends_a_merge_in_a_crash(first: dict[str, Any], second: dict[str, Any]) -> None:
    before = deepcopy((first, second))
    made = merged_config({"a": first, "b": second}, FIVE)
    assert (first, second) == before
    assert made.keys() <= first.keys() | {"dtype"}
    assert made.get("num_hidden_layers", 5) == 5 or not isinstance(first["num_hidden_layers"], int)
