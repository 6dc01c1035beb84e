"""Llamas of two layers with random weights and one token for each byte: real to vLLM, and quick."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.contracts.model import Manifest
from service.models.store import Store
from tests.workers.serving.models import commit

_HIDDEN, _LAYERS, _VOCABULARY, _INNER = 64, 2, 256, 128
_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    # So that greedy answers do not depend on what else is in the batch.
    "dtype": "float32",
}
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def add_tiny_llama(store: Store, ident: str, seed: int, scale: float = 0.25, **config: Any) -> Manifest:
    """It answers until it may not go on: none of its tokens ends a text."""
    folder = store.stage(ident)
    save_file(_weights(seed, scale), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_CONFIG | config))
    _write_tokenizer(folder)
    return commit(store, folder, ident)


def _weights(seed: int, scale: float) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    shapes = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN)}
    for layer in range(_LAYERS):
        name = f"model.layers.{layer}"
        shapes |= {f"{name}.self_attn.{part}_proj.weight": (_HIDDEN, _HIDDEN) for part in "qkvo"}
        shapes |= {f"{name}.mlp.{part}_proj.weight": (_INNER, _HIDDEN) for part in ("gate", "up")}
        shapes[f"{name}.mlp.down_proj.weight"] = (_HIDDEN, _INNER)
    weights = {name: torch.randn(shape, generator=chance) * scale for name, shape in shapes.items()}
    norms = [f"model.layers.{n}.{part}" for n in range(_LAYERS) for part in _NORMS]
    return weights | {f"{name}.weight": torch.ones(_HIDDEN) for name in [*norms, "model.norm"]}


_NORMS = ("input_layernorm", "post_attention_layernorm")


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
