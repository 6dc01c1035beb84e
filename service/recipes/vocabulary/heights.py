"""The tensors that have a row for each token: embeddings and output heads."""

from collections.abc import Mapping

from service.contracts.model import TensorEntry
from service.recipes.tensor_names import INPUT_EMBEDDINGS, TensorTable

_OTHERS = (".embed_tokens_per_layer.weight", ".lm_head.weight", ".lm_head.bias", ".embed_out.weight")


def has_row_per_token(name: str) -> bool:
    """By the names that architectures give to embeddings and output heads."""
    return f".{name}".endswith((*INPUT_EMBEDDINGS, *_OTHERS))


def height(table: TensorTable) -> int | None:
    """How many rows the model's vocabulary tensors have; None where that is not one number."""
    heights = {entry.shape[0] for name, entry in table.items() if has_row_per_token(name) and entry.shape}
    return heights.pop() if len(heights) == 1 else None


def resized(table: TensorTable, rows: int) -> Mapping[str, TensorEntry]:
    """The table of the same model with `rows` rows in every vocabulary tensor."""
    return {
        name: TensorEntry(shape=[rows, *entry.shape[1:]], dtype=entry.dtype)
        if has_row_per_token(name) and entry.shape
        else entry
        for name, entry in table.items()
    }
