"""Source files for the tests, right ones and wrong ones."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from service.contracts.model import ImportRequest, Manifest, TensorEntry

ITEM = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def header(tensors: Mapping[str, tuple[str, list[int]]]) -> dict[str, Any]:
    """A right header, the tensors back to back."""
    found: dict[str, Any] = {}
    position = 0
    for name, (dtype, shape) in tensors.items():
        end = position + int(np.prod(shape, dtype=np.int64)) * ITEM[dtype]
        found[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    return found


def pack(head: Any, data: int) -> bytes:
    """A safetensors file of any header, right or wrong, and `data` zero bytes."""
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(data)


def safetensors(tensors: Mapping[str, tuple[str, list[int]]]) -> bytes:
    head = header(tensors)
    return pack(head, max((entry["data_offsets"][1] for entry in head.values()), default=0))


def checkpoint(folder: Path, tensors: Mapping[str, tuple[str, list[int]]] | None = None) -> Path:
    """A folder that can be imported."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors(tensors or {"w": ("F32", [2, 3])}))
    return folder


def sharded(folder: Path, shards: Mapping[str, Mapping[str, tuple[str, list[int]]]]) -> Path:
    """A folder with an index over the shards."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for shard, tensors in shards.items():
        (folder / shard).write_bytes(safetensors(tensors))
    placed = {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder


def gguf(path: Path, architecture: str = "llama", **more: int) -> Path:
    """A whole GGUF file with two tensors, but far from a whole model."""
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "ab"])
    writer.add_token_merges(["a b"])
    writer.add_block_count(1)
    for key, value in more.items():
        writer.add_uint16(key.replace("_", "."), value)
    writer.add_tensor("token_embd.weight", np.ones((3, 64), dtype=np.float32))
    writer.add_tensor("rope_freqs.weight", np.ones(64, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def manifest(tensors: Mapping[str, tuple[str, list[int]]]) -> Manifest:
    """Of a registered base model."""
    return Manifest(
        id="m_0123456789abcdef",
        kind="import",
        content_digest="0" * 64,
        files={},
        tensors={name: TensorEntry(dtype=dtype, shape=shape) for name, (dtype, shape) in tensors.items()},
        size_bytes=0,
        created_at=datetime.now(UTC),
    )


LORA: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
BASE = {
    "model.layers.0.self_attn.q_proj.weight": ("BF16", [6, 10]),
    "model.layers.1.self_attn.q_proj.weight": ("BF16", [6, 10]),
    "model.norm.weight": ("BF16", [10]),
}


def factors(
    rank: int = 4, module: str = "model.layers.0.self_attn.q_proj"
) -> dict[str, tuple[str, list[int]]]:
    """The pair of one module of BASE."""
    prefix = f"base_model.model.{module}"
    return {f"{prefix}.lora_A.weight": ("F32", [rank, 10]), f"{prefix}.lora_B.weight": ("F32", [6, rank])}


def adapter(
    folder: Path,
    config: Mapping[str, Any] = LORA,
    tensors: Mapping[str, tuple[str, list[int]]] | None = None,
) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors or factors()))
    return folder


def request(**source: str) -> ImportRequest:
    """An import request; one of an adapter names a base."""
    base = "base" if "adapter" in source else None
    return ImportRequest.model_validate({"source": source, "base": base})
