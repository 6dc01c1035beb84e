"""What the loops for the CPU compute, for tensors of any dtype; other devices have the same in torch.

Entry by entry the results are the same, bit by bit; sums over many entries differ in their last digits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.merging import loops
from workers.merging.finite import Rounded

Numbers = NDArray[Any]

_ANY = 0x7FFFFFFF
_ROUNDED_TO_INFINITY = 0x7F7F8000
"""Bit pattern of the least float32 magnitude that bfloat16 has no number for."""
_MASK = np.dtype(
    [("low", "i4"), ("low_stop", "i8"), ("top", "i4"), ("top_stop", "i8"), ("key", "u8"), ("wins", "i4")],
    align=True,
)


class Mask(NamedTuple):
    """Which entries of a tile's task vector stay: those of a magnitude within bounds, and with luck."""

    low: int = 0
    """Bit pattern of the least magnitude that stays."""
    low_stop: int = _ANY
    """Those that equal `low` stay before this index into the tile, and from there on they don't."""
    top: int = _ANY
    """Bit pattern of the least magnitude that is too large."""
    top_stop: int = _ANY
    """Those that equal `top` are too large before this index, and from there on they stay."""
    key: int = 0
    """Of the coins (see coins)."""
    probability: float = 1.0


def add_weighted(
    models: Sequence[Tensor], base: Tensor | None, shares: Sequence[float], dtype: torch.dtype = torch.float32
) -> Tensor | Rounded:
    """sum(share_i x_i); where there is a base, base + sum(share_i (x_i - base)).

    In float32, or rounded to `dtype` where that is bfloat16.
    """
    out = _room(models[0].shape, dtype)
    arrays, origin = _with_base(models, base)
    return _seen(out, loops.add_weighted(arrays, origin, _float32(shares), _array(out)))


def multiply_pairs(models: Sequence[Tensor], base: Tensor | None) -> Tensor:
    """The matrix of scalar products of the models (less the base, if any), float64."""
    products = torch.empty(len(models), len(models), dtype=torch.float64)
    arrays, origin = _with_base(models, base)
    loops.multiply_pairs(arrays, origin, products.numpy())
    return products


def sift(numbers: Tensor, less: Tensor | None, low: int, high: int) -> tuple[int, Numbers]:
    """How many magnitudes have bit patterns above `high`, and the patterns from `low` to `high`, in order.

    Of `numbers`, or of what they are more than `less`.
    """
    (array,), origin = _with_base([numbers], less)
    within = np.empty(array.size + 8, dtype=np.int32)
    above, count = loops.sift(array, origin, np.int32(low), np.int32(high), within)
    return above, within[:count].copy()


def index_of(numbers: Tensor, less: Tensor | None, bits: int, rank: int) -> int:
    """The index of the rank-th, from 1, of the magnitudes that have this bit pattern, which is not zero's.

    Of `numbers`, or of what they are more than `less`. -1 where there are fewer.
    """
    (array,), origin = _with_base([numbers], less)
    return int(loops.index_of(array, origin, np.int32(bits), rank))


def subtract(minuend: Tensor, subtrahend: Tensor) -> Tensor:
    """minuend - subtrahend, float32."""
    out = torch.empty(minuend.shape)
    (array,), origin = _with_base([minuend], subtrahend)
    loops.subtract(array, origin, out.view(-1).numpy())
    return out


def to_bfloat16(numbers: Tensor) -> Rounded:
    """float32 numbers rounded to nearest even."""
    rows = torch.empty(numbers.shape, dtype=torch.bfloat16)
    largest = loops.round_to_bfloat16(_array(numbers), _array(rows))
    return Rounded(rows, int(largest) < _ROUNDED_TO_INFINITY)


def add_task_vectors(
    models: Sequence[Tensor],
    base: Tensor,
    masks: Sequence[Mask],
    offset: int,
    *,
    factors: Sequence[float],
    weights: Sequence[float],
    elect: bool,
    normalize: bool,
    scale: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor | Rounded:
    """As task_vectors.add_up has it; `offset` is the flat index that coins begin from.

    In float32, or rounded to `dtype` where that is bfloat16.
    """
    out = _room(base.shape, dtype)
    arrays, origin = _with_base(models, base)
    largest = loops.add_task_vectors(
        arrays,
        origin,
        _records(masks),
        offset,
        _float32(factors),
        _float32(weights),
        np.float32(sum(weights)),
        elect,
        normalize,
        np.float32(scale),
        _array(out),
    )
    return _seen(out, largest)


def l1_norms(models: Sequence[Tensor], base: Tensor, masks: Sequence[Mask], offset: int) -> Tensor:
    """Of each model less the base as a whole and of what its mask leaves: shape (models, 2), float64."""
    norms = torch.empty(len(models), 2, dtype=torch.float64)
    arrays, origin = _with_base(models, base)
    loops.add_magnitudes(arrays, origin, _records(masks), offset, norms.numpy())
    return norms


def _room(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """For numbers in the one of the two dtypes that the loops write which comes before `dtype`."""
    return torch.empty(shape, dtype=dtype if dtype == torch.bfloat16 else torch.float32)


def _seen(rows: Tensor, largest: int) -> Tensor | Rounded:
    """`largest` is the largest bit pattern among bfloat16 rows before they were rounded."""
    return Rounded(rows, int(largest) < _ROUNDED_TO_INFINITY) if rows.dtype == torch.bfloat16 else rows


def _with_base(models: Sequence[Tensor], base: Tensor | None) -> tuple[tuple[Numbers, ...], Numbers]:
    """Flat arrays of one dtype; an empty one for no base."""
    tensors = [*models, models[0][:0] if base is None else base]
    if any(tensor.dtype != torch.bfloat16 for tensor in tensors):
        tensors = [tensor.float() for tensor in tensors]
    *arrays, origin = (_array(tensor) for tensor in tensors)
    return tuple(arrays), origin


def _array(tensor: Tensor) -> Numbers:
    """A bfloat16 number as what it is: the upper half of a float32 number."""
    stored = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    return stored.numpy().reshape(-1)


def _float32(numbers: Sequence[float]) -> Numbers:
    return np.array(numbers, dtype=np.float32)


def _records(masks: Sequence[Mask]) -> Numbers:
    return np.array(
        [
            (low, min(low_stop, _ANY), top, min(top_stop, _ANY), key % (1 << 64), _wins(probability))
            for low, low_stop, top, top_stop, key, probability in masks
        ],
        dtype=_MASK,
    )


def _wins(probability: float) -> int:
    """Coins below this number win: the first that is no less than float32 has the probability."""
    return int(np.ceil(np.float32(probability - 0.5) * np.float32(65536)))
