"""Iso-C against the formula on numpy's singular value decomposition."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.workers.merging.models import merged, random_models

Matrix = NDArray[np.float64]
NAMES = ("a", "b", "c")
SHAPES = {
    "model.embed_tokens.weight": (30, 12),
    "model.layers.0.mlp.up_proj.weight": (31, 12),
    "model.layers.0.mlp.down_proj.weight": (12, 31),
    "model.layers.0.mlp.experts": (2, 9, 12),
    "model.norm.weight": (12,),
}
RECIPE: dict[str, Any] = {
    "merge_method": "iso_c",
    "base_model": "base",
    "models": [{"model": name} for name in NAMES],
    "parameters": {"lambda": 0.8},
}


def by_numpy(total: Matrix) -> Matrix:
    """Of a matrix, or each of a stack."""
    u, s, vt = np.linalg.svd(total, full_matrices=False)
    isotropic: Matrix = s.mean(-1)[..., None, None] * (u @ vt)
    return isotropic


def test_matrices_get_equal_singular_values_and_all_else_the_mean() -> None:
    models = random_models(*NAMES, shapes=SHAPES)
    result = merged(RECIPE, models)
    for name in SHAPES:
        base = models["base"][name].double().numpy()
        total = sum(models[model][name].double().numpy() - base for model in NAMES)
        change = by_numpy(total) if ".mlp." in name else total / len(NAMES)
        np.testing.assert_allclose(result[name].numpy(), base + 0.8 * change, rtol=3e-6, atol=3e-6)


def test_directions_that_no_model_has_changed_stay_unchanged() -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    models = random_models("a", shapes={name: (31, 12)})
    torch.manual_seed(0)
    column, row = torch.randn(31, 1), torch.randn(1, 12)
    models["a"][name] = models["base"][name] + 0.1 * column @ row
    alone = RECIPE | {"models": [{"model": "a"}], "parameters": {}}
    torch.testing.assert_close(merged(alone, models)[name], models["a"][name], rtol=1e-5, atol=1e-5)
