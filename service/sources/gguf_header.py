"""Walks the header of a GGUF file without the library: is it whole, and can it be dequantised?

Format: magic, version, counts, metadata, tensor infos, then the aligned tensor data, all little-endian
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

import struct
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from service.sources.malformed import Malformed

VERSIONS = (2, 3)
MAX_HEADER_BYTES = 64 * 1024 * 1024
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""ggml's tensor types that can be dequantised: number -> (weights in a block, bytes of a block)."""


def check_gguf(path: Path) -> int:
    """How many weights the file has, all of them in it. Raises Malformed or OSError."""
    with path.open("rb") as file:
        try:
            return _check(_Reader(file))
        except ValueError as error:
            raise Malformed(f"{path.name}: {error}") from None


class _Reader:
    """Reads forward, never past the end of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)

    @property
    def position(self) -> int:
        return self._file.tell()

    def number(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        return struct.unpack("<" + code, self._take(size))[0]

    def text(self) -> str:
        return self._take(self.number("Q")).decode()

    def skip(self, count: int) -> None:
        self._reach(count)
        self._file.seek(count, 1)

    def value(self) -> Any:
        """A metadata value; of an array only its length."""
        kind = self.number("I")
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_scalar(kind))
        item, count = self.number("I"), self.number("Q")
        if item == _STRING:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            self.skip(count * struct.calcsize("<" + _scalar(item)))
        return count

    def _take(self, count: int) -> bytes:
        self._reach(count)
        return self._file.read(count)

    def _reach(self, count: int) -> None:
        if count > self.size - self.position:
            raise ValueError("truncated: the file ends within its header")
        if self.position + count > MAX_HEADER_BYTES:
            raise ValueError(f"the header has more than {MAX_HEADER_BYTES} bytes")


def _check(reader: _Reader) -> int:
    if reader.size < 24:
        raise ValueError("no GGUF file: it is shorter than a GGUF header")
    if reader.number("4s") != b"GGUF":
        raise ValueError("no GGUF file: it does not begin with the letters GGUF")
    version = reader.number("I")
    if version not in VERSIONS:
        raise ValueError(
            f"GGUF version {version}; supported: {', '.join(map(str, VERSIONS))} (little-endian)"
        )
    tensors, pairs = reader.number("Q"), reader.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        key = reader.text()
        if key in metadata:
            raise ValueError(f"the metadata has '{key}' twice")
        metadata[key] = reader.value()
    _check_metadata(metadata)
    names: set[str] = set()
    weights = end = 0
    for _ in range(tensors):
        count, stop = _tensor(reader, names)
        weights, end = weights + count, max(end, stop)
    if not names:
        raise ValueError("there are no tensors in it")
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise ValueError(f"general.alignment is {alignment!r}")
    data = -(-reader.position // alignment) * alignment
    if data + end > reader.size:
        raise ValueError(f"truncated: the tensors end at byte {data + end}, the file has {reader.size}")
    return weights


def _check_metadata(metadata: dict[str, Any]) -> None:
    if not isinstance(metadata.get("general.architecture"), str):
        raise ValueError("general.architecture is missing")
    if "tokenizer.ggml.tokens" not in metadata:
        raise ValueError("there is no tokenizer in it (tokenizer.ggml.tokens)")
    if metadata.get("split.count", 1) not in (0, 1):
        raise ValueError("it is one part of a split file; join the parts first (llama-gguf-split --merge)")


def _tensor(reader: _Reader, names: set[str]) -> tuple[int, int]:
    """Read a tensor's info: how many weights, and where its data ends, from the start of all data."""
    name = reader.text()
    if name in names:
        raise ValueError(f"tensor '{name}' is there twice")
    names.add(name)
    dimensions = reader.number("I")
    if dimensions > 4:
        raise ValueError(f"tensor '{name}' has {dimensions} dimensions; GGUF has at most 4")
    shape = [reader.number("Q") for _ in range(dimensions)]
    kind, offset = reader.number("I"), reader.number("Q")
    if kind not in _BLOCKS:
        raise ValueError(f"tensor '{name}' has ggml type {kind}, which can't be dequantised")
    block, size = _BLOCKS[kind]
    if shape and shape[0] % block:
        raise ValueError(
            f"tensor '{name}' has rows of {shape[0]} weights, which blocks of {block} don't fill"
        )
    weights = prod(shape)
    return weights, int(offset + weights // block * size)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"unknown metadata type {kind}")
    return _SCALARS[kind]
