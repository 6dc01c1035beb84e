"""Loops over the entries of a tile, compiled for the CPU: each does in one go what takes torch many passes.

They hold no interpreter lock. Their machine code is kept beside this file, or in the user's cache folder. For
other devices the callers have the same arithmetic in torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 1024
"""Entries that stay in the innermost cache from one loop to the next."""

Floats = NDArray[np.float32]
Bits = NDArray[np.int32]
Halves = NDArray[np.uint16]


def bfloat16_difference(minuend: Tensor, subtrahend: Tensor) -> Tensor:
    """float32."""
    out = torch.empty(minuend.shape, dtype=torch.float32)
    _bfloat16_difference(_upper_halves(minuend), _upper_halves(subtrahend), out.view(-1).numpy())
    return out


def sift(values: Tensor, low: int, high: int) -> tuple[int, Bits]:
    """How many magnitudes have bit patterns above `high`, and the patterns from `low` to `high`, in order."""
    numbers = values.flatten().numpy().view(np.int32)
    within = np.empty(len(numbers) + 8, dtype=np.int32)
    above, count = _sift(numbers, np.int32(low), np.int32(high), within)
    return above, within[:count].copy()


def keep_at_random(values: Tensor, key: int, offset: int, probability: float) -> None:
    """Set to zero where a coin (see coins) falls on the wrong side, in place."""
    _keep_at_random(
        values.view(-1).numpy(), np.uint64(key % (1 << 64)), np.int64(offset), np.float32(probability - 0.5)
    )


def elected_sum(
    vectors: Sequence[Tensor], factors: Sequence[float], weights: Sequence[float], *, normalize: bool
) -> Tensor:
    """As sign_election has it."""
    out = torch.empty_like(vectors[0])
    numbers = tuple(vector.flatten().numpy() for vector in vectors)
    _elected_sum(numbers, _floats(factors), _floats(weights), normalize, out.view(-1).numpy())
    return out


def _upper_halves(tensor: Tensor) -> Halves:
    """bfloat16 numbers as what they are: the upper halves of float32 numbers."""
    return tensor.flatten().view(torch.int16).numpy().view(np.uint16)


def _floats(numbers: Sequence[float]) -> Floats:
    return np.array(numbers, dtype=np.float32)


@njit(nogil=True, cache=True)
def _sift(numbers: Any, low: Any, high: Any, within: Any) -> tuple[int, int]:
    bits: Any = np.empty(_BLOCK, np.int32)
    hits: Any = np.empty(_BLOCK, np.uint8)
    eights = hits.view(np.uint64)
    above = count = 0
    for start in range(0, numbers.size, _BLOCK):
        block = numbers[start : start + _BLOCK]
        above_here: Any = np.int32(0)
        for i in range(block.size):
            bits[i] = block[i] & np.int32(0x7FFFFFFF)
            above_here += np.int32(bits[i] > high)
        above += above_here
        for i in range(block.size):
            hits[i] = np.uint8((bits[i] >= low) & (bits[i] <= high))
        hits[block.size :] = 0
        for eight in range(eights.size):
            # Few are hit, so most eights need no second look.
            if eights[eight] != 0:
                for i in range(8 * eight, 8 * eight + 8):
                    # Written always and counted if hit: a branch would be mispredicted.
                    within[count] = bits[i]
                    count += hits[i]
    return above, count


@njit(nogil=True, cache=True)
def _bfloat16_difference(minuend: Any, subtrahend: Any, out: Any) -> None:
    minuend_bits, subtrahend_bits = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint32)
    minuend_numbers, subtrahend_numbers = minuend_bits.view(np.float32), subtrahend_bits.view(np.float32)
    for start in range(0, out.size, _BLOCK):
        # Slices, because an index that might be negative keeps a loop from being vectorised.
        left, right = minuend[start : start + _BLOCK], subtrahend[start : start + _BLOCK]
        difference = out[start : start + _BLOCK]
        for i in range(difference.size):
            minuend_bits[i] = np.uint32(left[i]) << np.uint32(16)
        for i in range(difference.size):
            subtrahend_bits[i] = np.uint32(right[i]) << np.uint32(16)
        for i in range(difference.size):
            difference[i] = minuend_numbers[i] - subtrahend_numbers[i]


@njit(nogil=True, cache=True)
def _keep_at_random(values: Any, key: Any, offset: Any, edge: Any) -> None:
    numbers = np.empty(_BLOCK // 4, np.uint64)
    drawn = numbers.view(np.int16)
    skipped = offset % 4
    for start in range(-skipped, values.size, _BLOCK):
        group = np.uint64((offset + start) // 4 + 1)
        for i in range(numbers.size):
            z = (group + np.uint64(i)) * np.uint64(0x9E3779B97F4A7C15) + key
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            numbers[i] = z ^ (z >> np.uint64(31))
        block, coins = values[max(start, 0) : start + _BLOCK], drawn[max(-start, 0) :]
        for i in range(block.size):
            won = np.float32(coins[i]) * np.float32(2.0**-16) < edge
            block[i] *= np.float32(1) if won else np.float32(0)


@njit(nogil=True, cache=True)
def _elected_sum(vectors: Any, factors: Any, weights: Any, normalize: Any, out: Any) -> None:
    one, zero = np.float32(1), np.float32(0)
    total, divisor = np.empty(_BLOCK, dtype=np.float32), np.empty(_BLOCK, dtype=np.float32)
    for start in range(0, out.size, _BLOCK):
        size = min(_BLOCK, out.size - start)
        result = out[start : start + size]
        for i in range(size):
            total[i], divisor[i], result[i] = zero, zero, zero
        for model in range(len(vectors)):
            vector, factor = vectors[model][start : start + size], factors[model]
            for i in range(size):
                total[i] += vector[i] * factor
        for model in range(len(vectors)):
            vector, factor, weight = vectors[model][start : start + size], factors[model], weights[model]
            for i in range(size):
                value = vector[i] * factor
                sign = one if total[i] >= zero else -one
                # Multiplied, not skipped, so that a NaN stays one.
                agrees = one if value * sign > zero else zero
                result[i] += value * agrees
                divisor[i] += weight * agrees
        if normalize:
            for i in range(size):
                result[i] /= divisor[i] if divisor[i] != zero else one
