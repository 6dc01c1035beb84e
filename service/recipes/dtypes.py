"""Element types as safetensors headers name them."""

from math import prod

from service.contracts.model import TensorEntry

ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
FLOATS = {"F32", "BF16", "F16"}
"""What can be merged."""
HEADER_DTYPE = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""From the names that recipes use."""
DTYPE_NAME = {header: name for name, header in HEADER_DTYPE.items()}
"""Back to those names, which are torch's."""


def nbytes(entry: TensorEntry) -> int:
    """Of the tensor's data."""
    return prod(entry.shape) * ITEM_BYTES[entry.dtype]
