"""Coins that fall the same way for an entry whatever the tile, the thread or the device."""

import torch
from torch import Tensor

from workers.merging.counter_random import bits


def coin(key: int, offset: int, probability: float | Tensor, like: Tensor) -> Tensor:
    """1.0 with `probability` (to 2^-16), else 0.0: coins offset, offset + 1, … shaped as `like`."""
    # Of numbers between -2^15 and 2^15; floats all along, because torch is slow with booleans.
    drawn = bits(key, offset, like.numel(), like.device).to(torch.float32).reshape(like.shape)
    return drawn.mul_(-(2.0**-16)).add_(probability - 0.5).sign_().clamp_min_(0)
