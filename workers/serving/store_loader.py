"""The load format `polymerge`: vLLM reads models of the store, adapters included, at start and on reload."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from vllm.config import ModelConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from workers.merging.weights import whole_tensor
from workers.open_model import open_model, read_manifest

LOAD_FORMAT = "polymerge"
_HEAD = "lm_head.weight"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")


class VllmModel(Protocol):
    """The part of a vLLM model that loading needs."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Iterable[str]: ...

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...


def register_load_format() -> None:
    register_model_loader(LOAD_FORMAT)(StoreLoader)


class StoreLoader(BaseModelLoader):
    """`model_config.model` is a model folder of the store."""

    def download_model(self, model_config: ModelConfig) -> None:
        """Everything is on disk."""

    def load_weights(self, model: VllmModel, model_config: ModelConfig) -> None:
        """Raises ValueError when a parameter of the model is in no file: it would stay uninitialised."""
        loaded = model.load_weights(self.get_all_weights(model_config, model))
        missing = {name for name, _ in model.named_parameters()} - set(loaded)
        if missing:
            raise ValueError(f"{model_config.model} lacks weights for {', '.join(sorted(missing)[:5])}")

    def get_all_weights(self, model_config: ModelConfig, model: VllmModel) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor in the engine's dtype), layer by layer; a tied head is named beside its embedding."""
        tied = bool(getattr(model_config.hf_text_config, "tie_word_embeddings", False))
        return stream(Path(model_config.model), model_config.dtype, tied)


def stream(folder: Path, dtype: torch.dtype, tied: bool) -> Iterator[tuple[str, Tensor]]:
    """Raises ValueError when the head is tied to an embedding that has no known name."""
    weights = open_model(folder)
    table = read_manifest(folder).tensors
    embedding = None if _HEAD in table or not tied else _embedding(table)
    for name in sorted(table, key=_natural):
        tensor = whole_tensor(weights, name, tuple(table[name].shape), dtype)
        yield name, tensor
        if name == embedding:
            # On a CPU vLLM packs the tied head into a copy of its own, which keeps the old weights otherwise.
            yield _HEAD, tensor


def _embedding(names: Iterable[str]) -> str:
    found = next((name for name in names if name.endswith(_EMBEDDINGS)), None)
    if found is None:
        raise ValueError(f"lm_head is tied, but no tensor is called {', '.join(_EMBEDDINGS)}")
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Layer 2 before layer 10; vLLM buffers a layer until it has all of it, so layers must stay together."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
