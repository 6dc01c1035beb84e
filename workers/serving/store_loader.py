"""The load format `polymerge`: vLLM reads models of the store at start and on reload, whatever their form.

A checkpoint is read, an adapter's product is added to its base, and a virtual model is merged from its
sources: nothing of that is written anywhere.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor
from vllm.config import ModelConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from service.contracts.model import Manifest
from service.models.store import Store
from service.recipes.refusal import Refused
from service.settings import Settings
from workers.merging.engine import NotFinite
from workers.merging.weights import whole_tensor
from workers.open_model import open_model, read_manifest
from workers.serving.refusal import mark
from workers.virtual import merged_tensors

LOAD_FORMAT = "polymerge"
_HEAD = "lm_head.weight"
_OUT_OF_MEMORY = (MemoryError, RuntimeError)
"""Python's; torch's, which has a class of its own for CUDA only."""
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
        with _refusing():
            loaded = model.load_weights(_stream(model_config))
        missing = {name for name, _ in model.named_parameters()} - set(loaded)
        if missing:
            raise ValueError(f"{model_config.model} lacks weights for {', '.join(sorted(missing)[:5])}")

    def get_all_weights(self, model_config: ModelConfig, model: VllmModel) -> Iterator[tuple[str, Tensor]]:
        """What a reload reads: all of it is there before the first tensor is given out.

        vLLM asks for this before it takes its weights apart, so that a merge that fails leaves the engine as
        it was. Files are mapped; what is computed takes memory until the reload is over.
        """
        with _refusing():
            return iter(list(_stream(model_config)))


def stream(folder: Path, dtype: torch.dtype, tied: bool) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor in `dtype`), layer by layer; a tied head is named beside its embedding.

    Raises ValueError when the head is tied to an embedding that has no known name, and what a merge raises.
    """
    manifest = read_manifest(folder)
    embedding = None if _HEAD in manifest.tensors or not tied else _embedding(manifest.tensors)
    for name, tensor in _tensors(folder, manifest, dtype):
        yield name, tensor
        if name == embedding:
            # On a CPU vLLM packs the tied head into a copy of its own, which keeps the old weights otherwise.
            yield _HEAD, tensor


def _stream(model_config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    tied = bool(getattr(model_config.hf_text_config, "tie_word_embeddings", False))
    return stream(Path(model_config.model), model_config.dtype, tied)


def _tensors(folder: Path, manifest: Manifest, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    # vLLM buffers a layer until it has all of it, so layers must stay together.
    names = sorted(manifest.tensors, key=_natural)
    if manifest.virtual:
        store = Store(folder.parents[1])
        for name, tensor in merged_tensors(store, manifest, names, Settings.from_environment()):
            yield name, tensor.to(dtype)
        return
    weights = open_model(folder)
    for name in names:
        yield name, whole_tensor(weights, name, tuple(manifest.tensors[name].shape), dtype)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever is wrong with the model, as what the serve worker will recognise."""
    try:
        yield
    except (OSError, ValueError, SafetensorError, Refused, NotFinite, *_OUT_OF_MEMORY) as error:
        raise ValueError(mark(str(error))) from error


def _embedding(names: Iterable[str]) -> str:
    found = next((name for name in names if name.endswith(_EMBEDDINGS)), None)
    if found is None:
        raise ValueError(f"lm_head is tied, but no tensor is called {', '.join(_EMBEDDINGS)}")
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
