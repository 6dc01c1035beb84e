"""TSV-M against the formula on numpy's singular value decomposition."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.workers.merging.models import merged, random_models

Matrix = NDArray[np.float64]
NAMES = ("a", "b", "c")
SHAPES = {
    "model.embed_tokens.weight": (30, 12),
    "model.layers.0.mlp.up_proj.weight": (31, 12),
    "model.layers.0.mlp.down_proj.weight": (12, 31),
    "model.layers.0.mlp.experts": (2, 9, 12),
    "model.layers.0.mlp.gate.weight": (2, 12),
    "model.norm.weight": (12,),
}
LAMBDA = 0.8


@pytest.fixture
def models() -> dict[str, dict[str, Tensor]]:
    return random_models(*NAMES, shapes=SHAPES)


def recipe(*models: str) -> dict[str, Any]:
    return {
        "merge_method": "tsv_m",
        "base_model": "base",
        "models": [{"model": name} for name in models],
        "parameters": {"lambda": LAMBDA},
    }


def changes(models: dict[str, dict[str, Tensor]], name: str) -> list[Matrix]:
    return [(models[model][name] - models["base"][name]).double().numpy() for model in NAMES]


def by_numpy(changes: list[Matrix]) -> Matrix:
    parts = [np.linalg.svd(change, full_matrices=False) for change in changes]
    kept = min(changes[0].shape) // len(changes)
    left = np.concatenate([u[:, :kept] for u, _, _ in parts], axis=1)
    values = np.concatenate([s[:kept] for _, s, _ in parts])
    right = np.concatenate([vt[:kept] for _, _, vt in parts])
    p, _, q = np.linalg.svd(left, full_matrices=False)
    r, _, t = np.linalg.svd(right, full_matrices=False)
    merged: Matrix = (p @ q) @ np.diag(values) @ (r @ t)
    return merged


def test_matrices_get_decorrelated_singular_vectors_and_all_else_the_mean(
    models: dict[str, dict[str, Tensor]],
) -> None:
    result = merged(recipe(*NAMES), models)
    for name in SHAPES:
        task_vectors = changes(models, name)
        if name.endswith(("up_proj.weight", "down_proj.weight")):
            change = by_numpy(task_vectors)
        elif name.endswith("experts"):
            change = np.stack([by_numpy(list(expert)) for expert in zip(*task_vectors, strict=True)])
        else:
            change = np.mean(task_vectors, axis=0)
        wanted = models["base"][name].double().numpy() + LAMBDA * change
        np.testing.assert_allclose(result[name].numpy(), wanted, rtol=2e-6, atol=2e-6)


def test_adapters_of_low_rank_leave_no_arbitrary_directions() -> None:
    """Twice the same change of rank 2 is that change, although the decomposition has 12 directions."""
    shapes = {"model.layers.0.mlp.up_proj.weight": (31, 12)}
    models = random_models("a", "b", shapes=shapes)
    (name,) = shapes
    torch.manual_seed(0)
    factors = torch.randn(31, 2), torch.randn(2, 12)
    for model in ("a", "b"):
        models[model][name] = models["base"][name] + 0.1 * factors[0] @ factors[1]
    wanted = models["base"][name] + LAMBDA * (models["a"][name] - models["base"][name])
    torch.testing.assert_close(merged(recipe("a", "b"), models)[name], wanted, rtol=1e-5, atol=1e-5)
