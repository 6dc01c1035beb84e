"""Reads the header of a safetensors file without the library, and believes nothing in it.

Format: 8 bytes little-endian length, that many bytes of JSON, then the data without gaps
(https://huggingface.co/docs/safetensors#format).
"""

from math import prod
from pathlib import Path
from typing import Any

from service.contracts.model import TensorEntry
from service.recipes.dtypes import ITEM_BYTES
from service.sources.json_object import parse_object
from service.sources.malformed import Malformed

MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Enough for some 250,000 tensors in one file."""
_MAX_DIMENSIONS = 32
_FIELDS = {"dtype", "shape", "data_offsets"}


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of the file by name, whose bytes are where it says. Raises Malformed or OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise Malformed(f"{path.name} is truncated or no safetensors file: it ends within its header")
        if length > MAX_HEADER_BYTES:
            raise Malformed(
                f"{path.name} has a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"
            )
        raw = file.read(length)
    if not raw.startswith(b"{"):
        raise Malformed(f"{path.name} is no safetensors file: its header is not a JSON object")
    header = parse_object(raw, f"the header of {path.name}")
    try:
        _check_metadata(header.pop("__metadata__", {}))
        stretches = {name: _stretch(name, entry) for name, entry in header.items()}
        _check_layout(stretches, size - 8 - length)
    except ValueError as error:
        raise Malformed(f"{path.name}: {error}") from None
    return {name: TensorEntry(shape=item["shape"], dtype=item["dtype"]) for name, item in header.items()}


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ must map strings to strings")
    for text in (*metadata, *metadata.values()):
        text.encode()


def _stretch(name: str, entry: Any) -> tuple[int, int]:
    """[begin, end) of a tensor's bytes, which have the size that shape and dtype say."""
    if not name.isprintable():
        raise ValueError(f"the tensor name {name!r} has characters that can't be printed")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ValueError(f"tensor '{name}' must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"tensor '{name}' has dtype {dtype!r}; supported: {', '.join(ITEM_BYTES)}")
    if not _naturals(shape) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"tensor '{name}' has no valid shape")
    if not _naturals(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor '{name}' has no valid data_offsets")
    begin, end = offsets
    if end - begin != prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"tensor '{name}' has {end - begin} bytes, not those of {dtype} {shape}")
    return begin, end


def _naturals(found: Any) -> bool:
    return isinstance(found, list) and all(type(item) is int and 0 <= item < 2**63 for item in found)


def _check_layout(stretches: dict[str, tuple[int, int]], data: int) -> None:
    """Back to back from 0 to the end of the file, as the format wants: no gap, no overlap."""
    position = 0
    for name, (begin, end) in sorted(stretches.items(), key=lambda item: item[1]):
        if begin != position:
            raise ValueError(
                f"tensor '{name}' begins at byte {begin}, {position} expected: a gap or an overlap"
            )
        position = end
    if position > data:
        raise ValueError(f"truncated: the header promises {position} bytes of tensors, the file has {data}")
    if position < data:
        raise ValueError(f"{data - position} bytes after the last tensor belong to none")
