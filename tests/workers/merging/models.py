"""Models in memory, the golden ones among them, and merges of them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from service.contracts.model import TensorEntry
from service.contracts.reference import split_reference
from service.recipes.document import load_document
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan, make_plan
from service.sources.adapter import read_factors
from workers.merging.engine import TORCH_DTYPES, merge
from workers.merging.weights import as_rows

GOLDEN = Path(__file__).parents[2] / "golden"
_HEADER_DTYPES = {dtype: name for name, dtype in TORCH_DTYPES.items()}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class InMemory:
    """Weights that are simply there."""

    tensors: Tensors

    def names(self) -> list[str]:
        return list(self.tensors)

    def read(self, name: str, start: int, stop: int, step: int = 1) -> Tensor:
        return as_rows(self.tensors[name])[start:stop:step]

    def identity(self, name: str) -> Hashable:
        return id(self), name


def table(tensors: Tensors) -> dict[str, TensorEntry]:
    return {
        name: TensorEntry(shape=list(tensor.shape), dtype=_HEADER_DTYPES[tensor.dtype])
        for name, tensor in tensors.items()
    }


def plan_of(recipe: Any, models: Mapping[str, Tensors], seed: int = 0) -> Plan:
    """What stands behind a + is one of the golden adapters."""
    checked = validate_recipe(recipe)
    mentioned = [split_reference(reference) for _, reference in checked.all_mentions()]
    factors = {adapter: read_factors(GOLDEN / "adapters" / adapter) for _, adapter in mentioned if adapter}
    tables = {name: table(models[name]) for name in checked.references() if name not in factors}
    return make_plan(checked, tables, seed, factors)


def merged(recipe: Any, models: Mapping[str, Tensors], seed: int = 0, **options: Any) -> dict[str, Tensor]:
    """The result of a recipe; `options` go to the engine."""
    weights = {name: InMemory(tensors) for name, tensors in models.items()}
    return dict(merge(plan_of(recipe, models, seed), weights, **options))


@cache
def golden_models() -> dict[str, dict[str, Tensor]]:
    models: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(GOLDEN / "inputs.safetensors").items():
        model, name = key.split("/")
        models.setdefault(model, {})[name] = tensor
    return models


def golden_recipe(name: str) -> Any:
    return load_document((GOLDEN / "recipes" / f"{name}.yaml").read_text())


def golden_output(name: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(GOLDEN / "outputs" / f"{name}.safetensors")
    return tensors


def random_models(
    *names: str, shapes: Mapping[str, tuple[int, ...]], seed: int = 1
) -> dict[str, dict[str, Tensor]]:
    """Fine-tunes of one random model, itself first under the name `base`."""
    rng = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    tuned = {
        model: {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=rng) for name, tensor in base.items()
        }
        for model in names
    }
    return {"base": base, **tuned}
