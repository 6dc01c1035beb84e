"""Model folders of the store, small enough to make in a test."""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from service.contracts.model import Manifest
from service.models.store import Store
from service.sources.files import content_digest, hash_file
from service.sources.safetensors_header import read_header

LAYERS = 12


def tied_tensors(seed: int) -> dict[str, torch.Tensor]:
    """Named as in a Llama whose head is tied to its embedding."""
    chance = torch.Generator().manual_seed(seed)
    shapes = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,)}
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.self_attn.{part}_proj.weight": (8, 8) for part in "qkv"}
    return {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}


def add_model(
    store: Store, ident: str, tensors: dict[str, torch.Tensor], config: dict[str, object] | None = None
) -> Manifest:
    folder = store.stage(ident)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "dtype": "float32", **(config or {})})
    )
    (folder / "tokenizer.json").write_text("{}")
    return commit(store, folder, ident)


def add_adapter(store: Store, ident: str, base: Manifest, module: str) -> Manifest:
    """A LoRA adapter of rank 2 and scaling 2 on one module."""
    folder = store.stage(ident)
    prefix = f"base_model.model.{module}"
    factors = {f"{prefix}.lora_A.weight": torch.ones(2, 8), f"{prefix}.lora_B.weight": torch.ones(8, 2)}
    save_file(factors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((store.path(base.id) / name).read_bytes())
    return commit(store, folder, ident, base)


def commit(store: Store, folder: Path, ident: str, base: Manifest | None = None) -> Manifest:
    files = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(
        id=ident,
        kind="import",
        weights="adapter" if base else "checkpoint",
        base=base.id if base else None,
        content_digest=content_digest(files),
        files=files,
        tensors=base.tensors if base else read_header(folder / "model.safetensors"),
        size_bytes=sum(entry.size for entry in files.values()),
        created_at=datetime.now(UTC),
    )
    store.commit(folder, manifest)
    return manifest
