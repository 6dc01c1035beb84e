"""Llama-shaped checkpoints of any size, random and bfloat16: a base, and experts a little away from it."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

MODELS = ("base", "a", "b", "c")


@dataclass(frozen=True)
class Llama:
    hidden: int
    inner: int
    vocabulary: int
    layers: int
    heads: int
    key_value_heads: int
    tied: bool = False
    shard_bytes: int = 1_000_000_000

    def shapes(self) -> dict[str, tuple[int, ...]]:
        keys = self.hidden * self.key_value_heads // self.heads
        layer = {
            "input_layernorm": (self.hidden,),
            "mlp.down_proj": (self.hidden, self.inner),
            "mlp.gate_proj": (self.inner, self.hidden),
            "mlp.up_proj": (self.inner, self.hidden),
            "post_attention_layernorm": (self.hidden,),
            "self_attn.k_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.v_proj": (keys, self.hidden),
        }
        outside = {
            "lm_head.weight": (self.vocabulary, self.hidden),
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if self.tied:
            del outside["lm_head.weight"]
        inside = {
            f"model.layers.{index}.{name}.weight": shape
            for index in range(self.layers)
            for name, shape in layer.items()
        }
        return outside | inside

    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_value_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "bfloat16",
        }

    def shards(self) -> list[list[str]]:
        """Names of tensors, file by file."""
        shards: list[list[str]] = [[]]
        size = 0
        for name, shape in self.shapes().items():
            count = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            if shards[-1] and size + count > self.shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append(name)
            size += count
        return shards


def make_models(
    folder: Path,
    llama: Llama,
    models: tuple[str, ...] = MODELS,
    *,
    device: str = "cpu",
    side_by_side: int = 1,
) -> None:
    """One folder each in `folder`, if it has not been made before."""
    if (folder / "complete").exists():
        return
    print(f"making {len(models)} models in {folder}")
    for model in models:
        shutil.rmtree(folder / model, ignore_errors=True)
        (folder / model).mkdir(parents=True)
        (folder / model / "config.json").write_text(json.dumps(llama.config()))
    shapes, placed = llama.shapes(), dict[str, str]()
    with ThreadPoolExecutor(side_by_side) as pool:
        made = []
        for file, names in _files(llama.shards()):
            placed |= dict.fromkeys(names, file)
            wanted = {name: shapes[name] for name in names}
            made.append(pool.submit(_make_shard, folder, models, file, wanted, device))
        for shard in made:
            shard.result()
    for model in models:
        index = {"metadata": {}, "weight_map": placed}
        (folder / model / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "complete").touch()


def _files(shards: list[list[str]]) -> Iterator[tuple[str, list[str]]]:
    for number, names in enumerate(shards, 1):
        yield f"model-{number:05d}-of-{len(shards):05d}.safetensors", names


def _make_shard(
    folder: Path, models: tuple[str, ...], file: str, shapes: dict[str, tuple[int, ...]], device: str
) -> None:
    import torch
    from safetensors.torch import save_file

    rng = torch.Generator(device).manual_seed(crc32(file.encode()))

    def random(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=rng, device=device)

    base = {name: random(shape).mul_(0.02).bfloat16() for name, shape in shapes.items()}
    for model in models:
        noise = 0.0 if model == "base" else 0.002
        tensors = {
            name: random(tensor.shape).mul_(noise).add_(tensor).bfloat16().cpu()
            for name, tensor in base.items()
        }
        save_file(tensors, folder / model / file, metadata={"format": "pt"})
