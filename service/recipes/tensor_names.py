"""What tensor names tell: layers, their order, embeddings, tied heads. Nothing here knows an architecture."""

import re
from collections.abc import Iterable, Mapping

from service.contracts.model import TensorEntry

TensorTable = Mapping[str, TensorEntry]

_LAYER = re.compile(r"^((?:[^.]+\.)*?[^.\d][^.]*)\.(\d+)\.(.+)$")
_EMBEDDINGS = ("embed", "wte", "wpe")
_INPUT_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


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


def stored_name(table: TensorTable, name: str) -> str | None:
    """Where `table` keeps the tensor: under its name, or, for a tied output head, the embedding's."""
    if name in table:
        return name
    if not name.endswith("lm_head.weight"):
        return None
    tied = [other for other in table if other.endswith(_INPUT_EMBEDDINGS)]
    return tied[0] if len(tied) == 1 else None
