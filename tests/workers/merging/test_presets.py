"""The recipes that stand for a published method give that method's formula, computed here with numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from .models import merged, random_models

RECIPES = Path(__file__).parents[3] / "recipes"
EXPERTS = ("safety", "general", "mix15", "en", "hi", "fr", "es", "ar", "ru")
LAYERS = 30
SHAPES = {
    "model.embed_tokens.weight": (16, 4),
    **{f"model.layers.{layer}.self_attn.q_proj.weight": (4, 4) for layer in range(LAYERS)},
    **{f"model.layers.{layer}.mlp.down_proj.weight": (4, 10) for layer in range(LAYERS)},
    "model.norm.weight": (4,),
}
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """The demo's names with as many layers, and small random weights."""
    tuned = random_models(*EXPERTS, shapes=SHAPES)
    return {"smollm2": tuned.pop("base"), **tuned}


def result(preset: str, models: dict[str, Any]) -> dict[str, Array]:
    recipe = yaml.safe_load((RECIPES / f"{preset}.yaml").read_text())
    exact = recipe | {"out_dtype": "float32"}
    return {name: tensor.double().numpy() for name, tensor in merged(exact, models).items()}


def weights(models: dict[str, Any], name: str) -> dict[str, Array]:
    return {model: tensors[name].double().numpy() for model, tensors in models.items()}


def layer_of(name: str) -> int | None:
    return int(name.split(".")[2]) if "layers" in name else None


def largest(change: Array, density: float) -> Array:
    """`change` with all but its largest entries, at least one, set to zero."""
    flat = np.abs(change).ravel()
    kept = np.argsort(-flat, kind="stable")[: max(1, int(density * flat.size))]
    mask = np.zeros(flat.size)
    mask[kept] = 1
    trimmed: Array = change * mask.reshape(change.shape)
    return trimmed


def resta(w: Mapping[str, Array], layer: int | None) -> Array:
    return w["fr"] + 0.5 * (w["safety"] - w["general"])


def merge_align(w: Mapping[str, Array], layer: int | None) -> Array:
    return w["smollm2"] + (w["general"] - w["smollm2"]) + 0.5 * (w["safety"] - w["smollm2"])


def harm_negation(w: Mapping[str, Array], layer: int | None) -> Array:
    return w["mix15"] - 0.3 * largest(w["general"] - w["smollm2"], 0.1)


def language_vector(w: Mapping[str, Array], layer: int | None) -> Array:
    return w["general"] + 0.6 * (w["hi"] - w["smollm2"])


def layer_swap(w: Mapping[str, Array], layer: int | None) -> Array:
    """Outside the layers as in the nearest one, which is the language's at both ends."""
    if layer in (6, 26):
        return (w["hi"] + w["general"]) / 2
    return w["general"] if layer is not None and 6 < layer < 26 else w["hi"]


def lines(w: Mapping[str, Array], layer: int | None) -> Array:
    alpha, beta = 0.2, 0.8
    scale = alpha + beta * (layer or 0) / (LAYERS - 1)
    return w["smollm2"] + scale * (w["safety"] + w["general"] - 2 * w["smollm2"])


@pytest.mark.parametrize(
    ("preset", "formula"),
    [
        ("safety-resta", resta),
        ("safety-mergealign", merge_align),
        ("safety-harm-negation", harm_negation),
        ("language-vector", language_vector),
        ("language-layer-swap", layer_swap),
        ("objective-lines", lines),
    ],
)
def test_a_preset_gives_its_papers_formula(preset: str, formula: Any, models: dict[str, Any]) -> None:
    for name, found in result(preset, models).items():
        wanted = formula(weights(models, name), layer_of(name))
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6, err_msg=name)


def test_resta_with_dare_thins_out_the_fine_tuning_and_leaves_the_safety_vector_whole(
    models: dict[str, Any],
) -> None:
    kept = total = 0
    for name, found in result("safety-resta-dare", models).items():
        w = weights(models, name)
        change = w["fr"] - w["smollm2"]
        thinned = found - w["smollm2"] - 0.5 * (w["safety"] - w["general"])
        mask = np.abs(thinned) > 1e-5
        # What is kept is scaled up to the former L1 norm.
        scale = np.abs(change).sum() / np.abs(change[mask]).sum()
        np.testing.assert_allclose(thinned, mask * scale * change, atol=1e-5, err_msg=name)
        kept, total = kept + int(mask.sum()), total + mask.size
    assert kept / total == pytest.approx(0.3, abs=0.05)
