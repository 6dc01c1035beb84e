"""A GPU computes what a CPU does. Runs where there is one."""

from typing import Any

import pytest
import torch

from service.contracts.methods import METHODS
from workers.merging import engine

from .models import merged, random_models
from .test_methods import NAMES, SHAPES, recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

LARGER = SHAPES | {"model.layers.2.attention.weight": (1000, 301)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_the_same(method: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = random_models(*NAMES, shapes=LARGER)
    if dtype == "bfloat16":
        models = {
            name: {key: tensor.bfloat16() for key, tensor in model.items()} for name, model in models.items()
        }
    options: dict[str, Any] = {"threads": 3, "tile_elements": 50_000}
    wanted = merged(recipe(method, out_dtype="float32"), models, **options)
    for large in (1, 10**9):
        monkeypatch.setattr(engine, "_LARGE_ELEMENTS_ON_GPU", large)
        found = merged(recipe(method, out_dtype="float32"), models, device="cuda", **options)
        for name in wanted:
            differs = ~torch.isclose(found[name], wanted[name], rtol=2e-5, atol=2e-5)
            # arcee_fusion's threshold is one of sums, whose last digits decide on a few entries.
            assert differs.float().mean().nan_to_num() <= (1e-4 if method == "arcee_fusion" else 0), name


def test_what_does_not_fit_on_the_gpu_is_uploaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    models = random_models(*NAMES, shapes=LARGER)
    resident = merged(recipe("ties"), models, device="cuda")
    monkeypatch.setattr("workers.merging.sources.free_bytes", lambda device: 0)
    passing = merged(recipe("ties"), models, device="cuda")
    assert all(torch.equal(resident[name], passing[name]) for name in LARGER)
