"""The k entries of the largest magnitude, found by counting instead of sorting.

Magnitudes of float32 numbers sort as their bit patterns do. A bracket from a sample most likely holds the
k-th; one pass over the tiles counts what lies above it and lists what lies within, so the result is exact
however bad the sample. Where the k-th lies outside after all, a bracket is counted out that holds it.
Among equal entries at the boundary those with the lowest index are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from workers.merging import kernels
from workers.merging.brackets import (
    Bracket,
    Brackets,
    Numbers,
    Values,
    bin_of,
    bits_of,
    counted_brackets,
    sampled_brackets,
)
from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Tile

_REPEATED = 3
"""Times that a pattern occurs from where on it is counted (differences of bfloat16 repeat), not listed."""
_FEW = 64
"""So small a part of a tile, 1 / _FEW, is listed in any case."""


@dataclass(frozen=True)
class Largest:
    """Which entries are among the k largest: those above the threshold, and the first few that equal it."""

    bits: int
    """Bit pattern of the k-th value; 0 keeps all, since nothing is below it."""
    stop: int
    """Those that equal it are kept before this flat index of the tensor."""

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
        stop = self.stop_in(tile)
        if stop >= values.numel():
            return hardshrink(values, _from_bits(self.bits - 1))
        above = hardshrink(values, self.threshold)
        if stop == 0:
            return above
        tied = values.abs() == self.threshold
        tied.flatten()[stop:] = False
        return torch.where(tied, values, above)

    def stop_in(self, tile: Tile) -> int:
        """`stop` as an index into the tile, 0 where it lies before."""
        return max(0, self.stop - tile.offset)


def largest(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> list[Largest | None]:
    """For each set its `counts` largest; None where the count is None. Costs one pass, rarely three."""
    if all(count is None for count in counts):
        return [None for _ in counts]
    found = _within(inputs, values, counts, sampled_brackets(inputs, values, counts))
    missed = [None if entries else count for entries, count in zip(found, counts, strict=True)]
    if any(missed):
        again = _within(inputs, values, missed, counted_brackets(inputs, values, missed))
        found = [first or second for first, second in zip(found, again, strict=True)]
    return found


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

    found: list[Largest | None] = []
    for index, (bracket, count) in enumerate(zip(brackets, counts, strict=True)):
        of_set = [tile for looked in tiles if (tile := looked[index])]
        last = None if bracket is None or count is None else _last(of_set, bracket, count)
        found.append(last and Largest(last[0], _stop(inputs, values, index, of_set, *last)))
    return found


@dataclass(frozen=True)
class _Found:
    """Of the tile that starts at a row: how many values lie above a bracket, and which ones within."""

    start: int
    above: int
    within: Numbers
    """Bit patterns."""
    counts: Numbers | None
    """How often each occurs; None: each is listed as often as it occurs."""

    @classmethod
    def of(cls, start: int, values: Difference, bracket: Bracket) -> "_Found":
        if not values.minuend.is_cpu:
            return cls(start, *sift_on_gpu(values, bracket.low, bracket.high))
        above, within = kernels.sift(values.minuend, values.subtrahend, bracket.low, bracket.high)
        if len(within) * _FEW < values.minuend.numel():
            return cls(start, above, within, None)
        patterns, counts = np.unique(within, return_counts=True)
        if len(within) > _REPEATED * len(patterns):
            return cls(start, above, patterns, counts)
        return cls(start, above, within, None)

    @property
    def size(self) -> int:
        return len(self.within) if self.counts is None else int(self.counts.sum())

    def of_upper_half(self, upper: int) -> tuple[Numbers, Numbers]:
        """The patterns that begin so, and how often each occurs."""
        chosen = self.within >> 16 == upper
        patterns = self.within[chosen]
        return patterns, np.ones(len(patterns)) if self.counts is None else self.counts[chosen]

    def ties(self, bits: int) -> int:
        """How many have this bit pattern."""
        equal = self.within == bits
        return int(np.count_nonzero(equal) if self.counts is None else self.counts[equal].sum())


def sift_on_gpu(values: Difference, low: int, high: int) -> tuple[int, Numbers, Numbers]:
    """How many magnitudes have bit patterns above `high`; those from `low` to `high`, and how often each."""
    bits = bits_of(values)
    over = bits > high
    within = torch.masked_select(bits, (bits >= low) ^ over)
    patterns, counts = torch.unique_consecutive(within.sort().values, return_counts=True)
    return int(over.sum()), patterns.cpu().numpy(), counts.cpu().numpy()


def _last(tiles: Sequence[_Found], bracket: Bracket, count: int) -> tuple[int, int] | None:
    """The bit pattern of the last of them, and its rank among its equals; None where outside the bracket.

    For a zero, which keeps all, rank 0.
    """
    rank = count - sum(tile.above for tile in tiles)
    if rank <= 0:
        return None
    if rank > sum(tile.size for tile in tiles):
        return (0, 0) if bracket.low == 1 else None
    return _select(tiles, bracket, rank)


def _stop(inputs: Inputs, values: Values, index: int, tiles: Sequence[_Found], bits: int, rank: int) -> int:
    """The flat index behind the entry of this rank among those of this bit pattern; for rank 0 the end."""
    for found in tiles:
        ties = found.ties(bits)
        if 0 < rank <= ties:
            tile = inputs.tile_at(found.start)
            return tile.offset + index_of(values(tile)[index], bits, rank) + 1
        rank -= ties
    return inputs.numel


def index_of(values: Difference, bits: int, rank: int) -> int:
    """Of the value of this rank, from 1, among those of this bit pattern; there are as many."""
    if values.minuend.is_cpu:
        return kernels.index_of(values.minuend, values.subtrahend, bits, rank)
    return int((bits_of(values) == bits).nonzero()[rank - 1])


def _select(tiles: Sequence[_Found], bracket: Bracket, rank: int) -> tuple[int, int]:
    """The bit pattern of this rank from the top, and its rank among its equals."""
    first = bracket.low >> 16
    histogram = np.zeros((bracket.high >> 16) - first + 1)
    for tile in tiles:
        histogram += np.bincount((tile.within >> 16) - first, weights=tile.counts, minlength=len(histogram))
    upper, rank = bin_of(histogram, rank)
    patterns, counts = zip(*(tile.of_upper_half(upper + first) for tile in tiles), strict=True)
    lower, rank = bin_of(np.bincount(np.concatenate(patterns) & 0xFFFF, weights=np.concatenate(counts)), rank)
    return (upper + first) << 16 | lower, rank


def _from_bits(bits: int) -> float:
    return float(np.int32(bits).view(np.float32))
