"""The k entries of the largest magnitude, found by counting instead of sorting.

Magnitudes of float32 numbers sort as their bit patterns do. A sample brackets the k-th; one pass over the
tiles counts what lies above the bracket and lists what lies within, so the result is exact however bad the
sample. Where the k-th lies outside after all, a histogram of the upper 16 bits gives a bracket that holds it.
Among equal entries at the boundary those with the lowest index are kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import hardshrink

from workers.merging import kernels
from workers.merging.inputs import Inputs, Tile

_BINS = 1 << 16
_FEW = 2048
"""Up to so many values of a tile are as well listed as counted; differences of bfloat16 take few values."""
_LEAST_SAMPLE, _SAMPLE_SHARE, _LARGEST_SAMPLE = 1 << 15, 1 / 24, 1 << 20
_MARGIN = 0.3
"""Share of the sample from its k-th to the bracket's ends, for one row; for n rows 1 / sqrt(n) of it."""

Values = Callable[[Tile], Sequence[Tensor]]
"""From a tile to sets of float32 values, one per entry of the tensor, of which the magnitude counts."""
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Largest:
    """Which entries are among the k largest: those above the threshold, and the first few that equal it."""

    bits: int
    """Bit pattern of the k-th value; 0 keeps all, since nothing is below it."""
    kept_ties: dict[int, int]
    """Of those that equal it, how many are kept in the tile that starts at a row; all, where absent."""

    @property
    def threshold(self) -> float:
        return _from_bits(self.bits)

    def mask(self, values: Tensor, tile: Tile) -> Tensor:
        """1.0 where an entry is kept, else 0.0."""
        return self.trim(values, tile).sign().abs_()

    def trim(self, values: Tensor, tile: Tile) -> Tensor:
        """The values with all but the largest set to zero; a NaN stays."""
        if self.bits == 0:
            return values
        kept = self.kept_ties.get(tile.start)
        if kept is None:
            return hardshrink(values, _from_bits(self.bits - 1))
        above = hardshrink(values, self.threshold)
        if kept == 0:
            return above
        tied = values.abs() == self.threshold
        first = tied & (tied.flatten().cumsum(0).reshape(tied.shape) <= kept)
        return above + values * first


def largest(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> list[Largest | None]:
    """For each set its `counts` largest; None where the count is None. Costs one pass, rarely three."""
    if all(count is None for count in counts):
        return [None for _ in counts]
    found = _within(inputs, values, counts, _sampled_brackets(inputs, values, counts))
    missed = [None if entries else count for entries, count in zip(found, counts, strict=True)]
    if any(missed):
        again = _within(inputs, values, missed, _counted_brackets(inputs, values, missed))
        found = [first or second for first, second in zip(found, again, strict=True)]
    return found


@dataclass(frozen=True)
class _Bracket:
    """Bit patterns from `low` to `high`, both included. Zero is in none: nothing is below it."""

    low: int
    high: int


Brackets = list[_Bracket | None]


def _sampled_brackets(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> Brackets:
    """For each set a narrow bracket that most likely holds its k-th value."""
    size = max(_LEAST_SAMPLE, min(int(inputs.numel * _SAMPLE_SHARE), _LARGEST_SAMPLE))
    width = inputs.shape[-1] if inputs.shape else 1
    tiles = list(inputs.sample(lambda tile: [_bits(found).cpu().numpy() for found in values(tile)], size))
    return [
        None if count is None else _around(np.sort(np.concatenate(bits)), count / inputs.numel, width)
        for bits, count in zip(zip(*tiles, strict=True), counts, strict=True)
    ]


def _around(sample: Numbers, share: float, width: int) -> _Bracket:
    """Around the bit pattern that `share` of the sample lies above; it is ascending, of rows of `width`."""
    position, margin = len(sample) * (1 - share), _MARGIN * sqrt(len(sample) * width)
    low, high = int(position - margin), int(position + margin) + 1
    return _Bracket(
        low=max(1, int(sample[low])) if low >= 0 else 1,
        high=int(sample[high]) if high < len(sample) else _upper_bin(_BINS // 2 - 1).high,
    )


def _counted_brackets(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> Brackets:
    """For each set the bit patterns that share their upper half with its k-th value. Costs a pass."""

    def histograms(tile: Tile) -> list[Tensor | None]:
        return [
            None if count is None else torch.bincount(_bits(found) >> 16, minlength=_BINS)
            for found, count in zip(values(tile), counts, strict=True)
        ]

    totals = [torch.zeros(_BINS, dtype=torch.int64, device=inputs.device) for _ in counts]
    for found in inputs.map(histograms):
        for total, histogram in zip(totals, found, strict=True):
            if histogram is not None:
                total += histogram
    return [
        None if count is None else _upper_bin(_bin_of(total.cpu().numpy(), count)[0])
        for total, count in zip(totals, counts, strict=True)
    ]


def _upper_bin(upper: int) -> _Bracket:
    return _Bracket(low=max(1, upper << 16), high=(upper << 16) | 0xFFFF)


def _within(
    inputs: Inputs, values: Values, counts: Sequence[int | None], brackets: Brackets
) -> list[Largest | None]:
    """For each set its `counts` largest, None where the last of them is outside the bracket. Costs a pass."""

    def look(tile: Tile) -> list["_Found | None"]:
        return [
            None if bracket is None else _Found.of(tile.start, found, bracket)
            for found, bracket in zip(values(tile), brackets, strict=True)
        ]

    tiles = list(inputs.map(look))
    return [
        None
        if count is None or bracket is None
        else _largest([tile for tile in found if tile], bracket, count)
        for found, bracket, count in zip(zip(*tiles, strict=True), brackets, counts, strict=True)
    ]


@dataclass(frozen=True)
class _Found:
    """Of the tile that starts at a row: how many values lie above a bracket, and which ones within."""

    start: int
    above: int
    within: Numbers
    """Bit patterns."""
    counts: Numbers
    """How often each occurs."""

    @classmethod
    def of(cls, start: int, values: Tensor, bracket: _Bracket) -> "_Found":
        sieve = kernels.sift if values.is_cpu else sift
        above, within = sieve(values, bracket.low, bracket.high)
        if len(within) > _FEW:
            return cls(start, above, *np.unique(within, return_counts=True))
        return cls(start, above, within, np.ones(len(within), dtype=np.int64))


def sift(values: Tensor, low: int, high: int) -> tuple[int, Numbers]:
    """How many magnitudes have bit patterns above `high`, and the patterns from `low` to `high`, in order."""
    bits = _bits(values)
    over = bits > high
    within = torch.masked_select(bits, (bits >= low) ^ over)
    return int(over.sum()), within.cpu().numpy()


def _largest(tiles: Sequence[_Found], bracket: _Bracket, count: int) -> Largest | None:
    rank = count - sum(tile.above for tile in tiles)
    within = np.concatenate([tile.within for tile in tiles])
    counts = np.concatenate([tile.counts for tile in tiles])
    if rank <= 0:
        return None
    if rank > counts.sum():
        return Largest(bits=0, kept_ties={}) if bracket.low == 1 else None
    bits, kept = _select(within, counts, rank)
    kept_ties = {}
    for tile in tiles:
        ties = int(tile.counts[tile.within == bits].sum())
        if ties > kept:
            kept_ties[tile.start] = max(kept, 0)
        kept -= ties
    return Largest(bits=bits, kept_ties=kept_ties)


def _select(bits: Numbers, counts: Numbers, rank: int) -> tuple[int, int]:
    """The bit pattern of this rank from the top, and its rank among its equals."""
    upper, rank = _bin_of(np.bincount(bits >> 16, weights=counts), rank)
    chosen = bits >> 16 == upper
    lower, rank = _bin_of(np.bincount(bits[chosen] & 0xFFFF, weights=counts[chosen]), rank)
    return (upper << 16) | lower, rank


def _bin_of(histogram: Numbers, rank: int) -> tuple[int, int]:
    """The bin that holds the value of this rank from the top, and its rank within the bin."""
    from_top = histogram[::-1].cumsum()
    position = int(np.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return len(histogram) - 1 - position, rank - above


def _bits(values: Tensor) -> Tensor:
    return values.abs().flatten().view(torch.int32)


def _from_bits(bits: int) -> float:
    return float(np.int32(bits).view(np.float32))
