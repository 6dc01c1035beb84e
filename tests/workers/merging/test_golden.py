"""Results are those of mergekit 0.1.5; tests/golden tells how its results were made."""

import json

import pytest
import torch

from .models import GOLDEN, golden_models, golden_output, golden_recipe, merged

NAMES = sorted(path.stem for path in (GOLDEN / "recipes").glob("*.yaml"))
BFLOAT16 = {name for name in NAMES if name.endswith(".bf16")}
DIFFERENT = {
    # Rows with tiny changes: mergekit takes no product of two lengths below 1e-6 for what it is.
    "model_stock-filter-wise": {"model.layers.0.self_attn.q_proj.weight"},
    # What follows the layers: mergekit takes as many of the last slice's sources as the first slice has.
    "slices-uneven": {"model.norm.weight", "lm_head.weight"},
}
STATISTICS = json.loads((GOLDEN / "statistics.json").read_text())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BFLOAT16])
def test_float32_results_equal_mergekits(name: str) -> None:
    found, wanted = merged(golden_recipe(name), golden_models()), golden_output(name)
    assert set(found) == set(wanted)
    for tensor in set(wanted) - DIFFERENT.get(name, set()):
        torch.testing.assert_close(found[tensor], wanted[tensor], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_where_we_differ_we_do(name: str) -> None:
    found, wanted = merged(golden_recipe(name), golden_models()), golden_output(name)
    for tensor in DIFFERENT[name]:
        assert not torch.allclose(found[tensor], wanted[tensor], atol=1e-4)


@pytest.mark.parametrize("name", sorted(BFLOAT16))
def test_bfloat16_results_are_mergekits_up_to_its_rounding(name: str) -> None:
    """mergekit computes in bfloat16, we round once: a few entries lie on the other side of a threshold."""
    found, wanted = merged(golden_recipe(name), golden_models()), golden_output(name)
    for tensor in wanted:
        close = torch.isclose(found[tensor].float(), wanted[tensor].float(), rtol=2**-7, atol=2**-10)
        assert close.float().mean() > 0.9


@pytest.mark.parametrize("name", sorted(STATISTICS))
def test_chance_drops_as_many_entries_as_mergekits(name: str) -> None:
    method, _, no_rescale = name.partition("-")
    models = golden_models()
    recipe = {
        "merge_method": method,
        "base_model": "base",
        "models": [{"model": "expert-a", "parameters": {"weight": 1.0, "density": 0.5}}],
        "parameters": {"rescale": not no_rescale},
    }
    found = merged(recipe, models, seed=3)
    dropped, size = 0.0, 0
    for tensor, theirs in STATISTICS[name].items():
        change = found[tensor] - models["base"][tensor]
        delta = models["expert-a"][tensor] - models["base"][tensor]
        ours = float((change == 0).float().mean())
        # The difference of two independent shares of n fair coins has a variance of 1 / (2 n).
        assert abs(ours - theirs["zeros"]) < 4.5 * (0.5 / theirs["size"]) ** 0.5
        ratio = float(change.abs().sum() / delta.abs().sum())
        assert ratio == pytest.approx(1 - ours if no_rescale else 1, abs=0.3 if no_rescale else 1e-4)
        dropped, size = dropped + ours * theirs["size"], size + theirs["size"]
    assert dropped / size == pytest.approx(0.5, abs=5 * (0.25 / size) ** 0.5)
