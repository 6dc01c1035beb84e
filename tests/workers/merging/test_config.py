"""config.json tells what a merge has made of the donor."""

from workers.merging.config import merged_config

from .models import plan_of, random_models

CONFIG = {"num_hidden_layers": 2, "torch_dtype": "float32", "hidden_size": 8}
MODELS = random_models("a", shapes={f"model.layers.{index}.w": (8, 8) for index in range(2)})


def test_the_dtype_is_the_results() -> None:
    plan = plan_of({"merge_method": "passthrough", "models": [{"model": "a"}], "dtype": "bfloat16"}, MODELS)
    assert merged_config(CONFIG, plan) == {"num_hidden_layers": 2, "dtype": "bfloat16", "hidden_size": 8}


def test_slices_change_the_number_of_layers() -> None:
    slices = [{"sources": [{"model": "a", "layer_range": [start, 2]}]} for start in (0, 1, 0)]
    plan = plan_of({"merge_method": "passthrough", "slices": slices}, MODELS)
    assert merged_config(CONFIG, plan)["num_hidden_layers"] == 5
