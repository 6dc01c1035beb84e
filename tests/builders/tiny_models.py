"""Random models of many architectures, a few layers each, as transformers makes and saves them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor

_TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
_SLIDING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 4}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


@dataclass(frozen=True)
class Architecture:
    """How to configure and build a model; `model_class` loads it too."""

    config: Callable[[], Any]
    model_class: Any = hf.AutoModelForCausalLM


def _gemma3() -> Any:
    text = _TEXT | _SLIDING | {"head_dim": 8}
    return hf.Gemma3Config(text_config=text, vision_config=_VISION, mm_tokens_per_image=1)


def _llava() -> Any:
    vision = _VISION | {"model_type": "clip_vision_model", "projection_dim": 32}
    return hf.LlavaConfig(text_config=_TEXT | {"model_type": "llama"}, vision_config=vision)


ARCHITECTURES = {
    "llama": Architecture(lambda: hf.LlamaConfig(**_TEXT)),
    "llama-tied": Architecture(lambda: hf.LlamaConfig(**_TEXT, tie_word_embeddings=True)),
    "granite": Architecture(lambda: hf.GraniteConfig(**_TEXT, tie_word_embeddings=True)),
    "gpt2": Architecture(
        lambda: hf.GPT2Config(
            vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
        )
    ),
    "smollm3": Architecture(lambda: hf.SmolLM3Config(**_TEXT, no_rope_layers=[1, 0, 1])),
    "gemma3-text": Architecture(lambda: hf.Gemma3TextConfig(**_TEXT, **_SLIDING, head_dim=8)),
    "mixtral": Architecture(lambda: hf.MixtralConfig(**_TEXT, num_local_experts=4)),
    "qwen3-moe": Architecture(
        lambda: hf.Qwen3MoeConfig(**_TEXT, **_EXPERTS, head_dim=8, mlp_only_layers=[1])
    ),
    "mamba": Architecture(lambda: hf.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=3)),
    "t5": Architecture(
        lambda: hf.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
        hf.AutoModelForSeq2SeqLM,
    ),
    "gemma3": Architecture(_gemma3, hf.AutoModelForImageTextToText),
    "llava": Architecture(_llava, hf.AutoModelForImageTextToText),
}


def tiny(architecture: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model whose every weight is random, around 0 or, in norms, around 1."""
    chosen = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    return tuned(chosen.model_class.from_config(chosen.config()), 1).to(dtype)


def tuned(model: Any, seed: int) -> Any:
    """A fine-tune: a copy with noise of spread 0.05 on every weight."""
    chance = torch.Generator().manual_seed(seed)
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in copy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=chance)
    return copy.to(model.dtype).eval()


def logits(model: Any) -> Tensor:
    """Of a few tokens, float32."""
    tokens = torch.arange(3, 23).reshape(2, 10)
    more = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        found: Tensor = model.float()(input_ids=tokens, **more).logits
    return found
