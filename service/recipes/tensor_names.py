"""What tensor names tell: layers, their order, embeddings, tied heads. Nothing here knows an architecture."""

import re
from collections.abc import Iterable, Mapping

from service.contracts.model import TensorEntry
from service.recipes.dtypes import FLOATS

TensorTable = Mapping[str, TensorEntry]

_LAYER = re.compile(r"^((?:[^.]+\.)*?[^.\d][^.]*)\.(\d+)\.(.+)$")
_EMBEDDINGS = ("embed", "wte", "wpe")
_BASE_PREFIXES = ("model.", "transformer.")
"""Before the names of tensors in a model with a head; saved without it, the same model has none."""
_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")
_OTHER_BUFFER = re.compile(r"(^|\.)(rotary_emb\.inv_freq|(attn|attention)\.masked_bias)$")
INPUT_EMBEDDINGS = (".embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def split_layer(name: str) -> tuple[str, int, str] | None:
    """`model.layers.7.mlp.up_proj.weight` -> ("model.layers", 7, "mlp.up_proj.weight"), else None."""
    match = _LAYER.match(name)
    return (match.group(1), int(match.group(2)), match.group(3)) if match else None


def layer_name(stack: str, index: int, rest: str) -> str:
    return f"{stack}.{index}.{rest}"


def stacks(names: Iterable[str]) -> dict[str, int]:
    """Every stack of layers and its height."""
    heights: dict[str, int] = {}
    for name in names:
        if split := split_layer(name):
            heights[split[0]] = max(heights.get(split[0], 0), split[1] + 1)
    return heights


def gradient_position(index: int, layers: int) -> float:
    """Where layer `index` of `layers` lies on a gradient, 0 to 1: a single one lies at 1, as in mergekit."""
    return index / (layers - 1) if layers > 1 else 1.0


def is_embedding(name: str) -> bool:
    """Whether a tensor outside the layers comes before them."""
    return any(part in name for part in _EMBEDDINGS)


def is_merged(name: str, entry: TensorEntry) -> bool:
    """Whether a tensor holds weights; others are copied.

    Integers don't, nor do causal masks and rotary frequencies, which old checkpoints hold beside the weights:
    loaders compute them from the config and skip them, and newer fine-tunes of the same model have none.
    """
    is_mask = _MASK.search(name) is not None and len(entry.shape) == 4
    return entry.dtype in FLOATS and not is_mask and not _OTHER_BUFFER.search(name)


def spellings(name: str) -> list[str]:
    """The name of a tensor, and its names in the same model saved without its head, or with it."""
    others = [name[len(prefix) :] if name.startswith(prefix) else prefix + name for prefix in _BASE_PREFIXES]
    return [name, *others]


def stored_name(table: TensorTable, name: str) -> str | None:
    """Where `table` keeps the tensor, however spelt; for a tied output head, where the embedding is."""
    found = next((spelling for spelling in spellings(name) if spelling in table), None)
    if found or not name.endswith("lm_head.weight"):
        return found
    tied = [other for other in table if other.endswith(INPUT_EMBEDDINGS)]
    return tied[0] if len(tied) == 1 else None
