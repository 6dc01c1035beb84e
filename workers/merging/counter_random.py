"""Random numbers from a counter: the same for an element whatever the tile, the thread or the device.

SplitMix64 (Steele, Lea, Flood 2014): the n-th number is a mix of key + n * golden ratio, so that any stretch
of the sequence can be had without the ones before it. Each number of 64 bits serves four elements.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def key_of(seed: int, *names: str) -> int:
    """A key of 64 bits, signed, for the numbers of one tensor of one model, say."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def bits(key: int, offset: int, count: int, device: torch.device) -> Tensor:
    """Numbers offset, offset + 1, … of the sequence: int16, all bits random."""
    first, last = offset // 4, (offset + count + 3) // 4
    counter = torch.arange(first + 1, last + 1, dtype=torch.int64, device=device)
    mixed = counter.mul_(_GOLDEN).add_(key)
    mixed = _xor_shift(mixed, 30).mul_(_MIX_1)
    mixed = _xor_shift(mixed, 27).mul_(_MIX_2)
    return _xor_shift(mixed, 31).view(torch.int16)[offset - 4 * first :][:count]


def _xor_shift(bits: Tensor, by: int) -> Tensor:
    """bits ^ (bits >>> by): torch shifts arithmetically, so the sign's copies are masked off."""
    shifted = (bits >> by).bitwise_and_((1 << (64 - by)) - 1)
    return bits.bitwise_xor_(shifted)
