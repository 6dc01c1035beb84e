"""SafeMERGE: which tensors are led back to the safe model, and what is said about them."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.workers.merging.models import merged, random_models

SHAPES = {
    "model.embed_tokens.weight": (20, 6),
    "model.layers.0.mlp.up_proj.weight": (16, 6),
    "model.layers.0.mlp.down_proj.weight": (6, 16),
    "model.layers.1.mlp.up_proj.weight": (16, 6),
    "model.layers.1.mlp.down_proj.weight": (6, 16),
    "model.layers.1.mlp.experts": (3, 6, 6),
    "model.norm.weight": (6,),
}
ALPHA = 0.3


@pytest.fixture
def models() -> dict[str, dict[str, Tensor]]:
    """A base; fine-tuned, safe and unaligned models of it."""
    return random_models("tuned", "safe", "unaligned", shapes=SHAPES)


def recipe(*models: str, **parameters: float) -> dict[str, Any]:
    return {
        "merge_method": "safemerge",
        "base_model": "base",
        "models": [{"model": name} for name in models],
        "parameters": {"alpha": ALPHA, **parameters},
    }


def change(models: dict[str, dict[str, Tensor]], model: str, name: str) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = (models[model][name] - models["base"][name]).double().numpy()
    return difference


def similarity(change: NDArray[np.float64], span: NDArray[np.float64]) -> float:
    """The paper's criterion, with its projection C; a stack of matrices has a C of blocks."""
    changes, spans = change.reshape(-1, *change.shape[-2:]), span.reshape(-1, *span.shape[-2:])
    projections = [v @ v.T / np.linalg.norm(spans) for v in spans]
    projected = np.stack([c @ d for c, d in zip(projections, changes, strict=True)])
    return float((projected * changes).sum() / np.linalg.norm(projected) / np.linalg.norm(changes))


@pytest.mark.parametrize("roles", [("tuned", "safe"), ("tuned", "safe", "unaligned")])
def test_tensors_below_the_threshold_are_merged_with_the_safe_model_and_named(
    models: dict[str, dict[str, Tensor]], roles: tuple[str, ...]
) -> None:
    matrices = [name for name in SHAPES if "layers" in name]
    found = {
        name: similarity(change(models, "tuned", name), change(models, roles[-1], name)) for name in matrices
    }
    threshold = sum(sorted(found.values())[1:3]) / 2
    replaced = {name for name in matrices if found[name] < threshold}
    assert len(replaced) == 2
    remarks: dict[str, str] = {}

    result = merged(recipe(*roles, threshold=threshold), models, remark=remarks.__setitem__)

    assert set(remarks) == replaced
    for name in SHAPES:
        share = ALPHA if name in replaced else 0.0
        wanted = (1 - share) * change(models, "tuned", name) + share * change(models, "safe", name)
        base = models["base"][name].double().numpy()
        np.testing.assert_allclose(result[name].numpy(), base + wanted, rtol=1e-6, atol=1e-6)
        if name in replaced:
            assert f"similarity {found[name]:.3f} < {threshold:g}" in remarks[name]


def test_the_threshold_may_differ_by_tensor(models: dict[str, dict[str, Tensor]]) -> None:
    remarks: dict[str, str] = {}
    only = recipe("tuned", "safe") | {
        "parameters": {"threshold": [{"filter": "layers.1", "value": 1}, {"value": 0}]}
    }
    merged(only, models, remark=remarks.__setitem__)
    assert set(remarks) == {name for name in SHAPES if "layers.1" in name}


def test_similarity_does_not_depend_on_how_large_the_changes_are(
    models: dict[str, dict[str, Tensor]],
) -> None:
    tiny = {
        model: {name: 1e-7 * (tensor - models["base"][name]) for name, tensor in tensors.items()}
        for model, tensors in models.items()
    }
    large: dict[str, str] = {}
    small: dict[str, str] = {}
    merged(recipe("tuned", "safe", threshold=1), models, remark=large.__setitem__)
    merged(recipe("tuned", "safe", threshold=1), tiny, remark=small.__setitem__)
    assert small == large


def test_without_a_change_or_a_safety_subspace_there_is_nothing_to_lead_back(
    models: dict[str, dict[str, Tensor]],
) -> None:
    names = [name for name in SHAPES if "up_proj" in name]
    models["tuned"][names[0]] = models["base"][names[0]].clone()
    models["unaligned"][names[1]] = models["base"][names[1]].clone()
    result = merged(recipe("tuned", "safe", "unaligned", threshold=1), models)
    for name in names:
        torch.testing.assert_close(result[name], models["tuned"][name])
