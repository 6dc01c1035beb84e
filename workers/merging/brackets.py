"""Brackets of bit patterns in which the k-th largest magnitude is to be looked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Tile

BINS = 1 << 16
"""Of the upper, and of the lower, half of a bit pattern."""
_LEAST_SAMPLE, _SAMPLE_SHARE, _LARGEST_SAMPLE = 1 << 15, 1 / 24, 1 << 20
_LARGEST_SAMPLE_ON_GPU = 1 << 17
"""There a wide bracket costs little, and the sample is looked at by the host."""
_STANDARD_ERRORS = 5
"""From the sample's k-th to the bracket's ends."""
_ENOUGH_ROWS, _CAUTIOUS_MARGIN = 8, 0.3
"""With fewer rows the margin is a share of the sample: for n rows this one / sqrt(n)."""

Values = Callable[[Tile], Sequence[Difference]]
"""From a tile to sets of values, one per entry of the tensor, of which the magnitude counts."""
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Bracket:
    """Bit patterns from `low` to `high`, both included. Zero is in none: nothing is below it."""

    low: int
    high: int


Brackets = list[Bracket | None]


def sampled_brackets(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> Brackets:
    """For each set a narrow bracket that most likely holds its k-th value."""
    most = _LARGEST_SAMPLE if inputs.device.type == "cpu" else _LARGEST_SAMPLE_ON_GPU
    size = max(_LEAST_SAMPLE, min(int(inputs.numel * _SAMPLE_SHARE), most))
    width = inputs.shape[-1] if inputs.shape else 1
    tiles = list(inputs.sample(lambda tile: [bits_of(found).cpu().numpy() for found in values(tile)], size))
    return [
        None if count is None else _around(np.concatenate(bits), count / inputs.numel, width)
        for bits, count in zip(zip(*tiles, strict=True), counts, strict=True)
    ]


def _around(sample: Numbers, share: float, width: int) -> Bracket:
    """Around the bit pattern that `share` of the sample lies above; it has whole rows of `width`."""
    position = len(sample) * (1 - share)
    margin = _margin(sample.reshape(-1, width), min(len(sample) - 1, int(position)))
    low, high = max(0, int(position - margin)), min(len(sample) - 1, int(position + margin) + 1)
    return Bracket(
        low=1 if low == 0 else max(1, _at_rank(sample, low)),
        high=_at_rank(sample, high) if high < len(sample) - 1 else _upper_bin(BINS // 2 - 1).high,
    )


def _margin(rows: Numbers, rank: int) -> float:
    """How far off the sample's entry of this rank may be, in ranks: more where rows are less alike."""
    if len(rows) < _ENOUGH_ROWS:
        return _CAUTIOUS_MARGIN * sqrt(rows.size * rows.shape[1])
    above = np.count_nonzero(rows > _at_rank(rows.reshape(-1), rank), axis=1)
    return _STANDARD_ERRORS * float(above.std()) * sqrt(len(rows))


def _at_rank(numbers: Numbers, rank: int) -> int:
    # NumPy has vector instructions for one rank, and is ten times slower when asked for two at once.
    return int(np.partition(numbers, rank)[rank])


def counted_brackets(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> Brackets:
    """For each set the bit patterns that share their upper half with its k-th value. Costs a pass."""

    def histograms(tile: Tile) -> list[Tensor | None]:
        return [
            None if count is None else torch.bincount(bits_of(found) >> 16, minlength=BINS)
            for found, count in zip(values(tile), counts, strict=True)
        ]

    totals = [torch.zeros(BINS, dtype=torch.int64, device=inputs.device) for _ in counts]
    for found in inputs.map(histograms):
        for total, histogram in zip(totals, found, strict=True):
            if histogram is not None:
                total += histogram
    return [
        None if count is None else _upper_bin(bin_of(total.cpu().numpy(), count)[0])
        for total, count in zip(totals, counts, strict=True)
    ]


def _upper_bin(upper: int) -> Bracket:
    return Bracket(low=max(1, upper << 16), high=(upper << 16) | 0xFFFF)


def bin_of(histogram: Numbers, rank: int) -> tuple[int, int]:
    """The bin that holds the value of this rank from the top, and its rank within the bin."""
    from_top = histogram[::-1].cumsum()
    position = int(np.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return len(histogram) - 1 - position, rank - above


def bits_of(values: Difference) -> Tensor:
    """Bit patterns of the magnitudes, in a row."""
    return values.values().abs().flatten().view(torch.int32)
