"""The k entries of the largest magnitude, found by counting instead of sorting, in two passes over the tiles.

Magnitudes of float32 numbers sort as their bit patterns do, so two histograms (upper, then lower 16 bits)
give the k-th exactly. Among equal ones at the boundary those with the lowest index are kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from workers.merging.inputs import Inputs, Tile

_HIGH_BINS, _LOW_BINS = 1 << 15, 1 << 16
_FEW = 4096
"""Up to so many values of a tile are as well listed as counted."""

Values = Callable[[Tile], Sequence[Tensor]]
"""From a tile to sets of float32 values, one per entry of the tensor, of which the magnitude counts."""


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
    """For each set its `counts` largest; None where the count is None. Costs two passes."""
    if all(count is None for count in counts):
        return [None for _ in counts]
    places = _upper_bins(inputs, values, counts)
    return _within_bins(inputs, values, places)


def _upper_bins(inputs: Inputs, values: Values, counts: Sequence[int | None]) -> list[tuple[int, int] | None]:
    """For each set the upper bits of its k-th value, and its rank among those that share them."""

    def histograms(tile: Tile) -> list[Tensor | None]:
        return [
            None if count is None else torch.bincount(_bits(found) >> 16, minlength=_HIGH_BINS)
            for found, count in zip(values(tile), counts, strict=True)
        ]

    totals = [torch.zeros(_HIGH_BINS, dtype=torch.int64, device=inputs.device) for _ in counts]
    for found in inputs.map(histograms):
        for total, histogram in zip(totals, found, strict=True):
            if histogram is not None:
                total += histogram
    return [
        None if count is None else _bin_of(total, count) for total, count in zip(totals, counts, strict=True)
    ]


def _within_bins(
    inputs: Inputs, values: Values, places: Sequence[tuple[int, int] | None]
) -> list[Largest | None]:
    def lower_bits(tile: Tile) -> tuple[int, list[_Counts | None]]:
        """The first row, and for each set the lower bits that occur in its bin and how often."""
        found = [
            # What shares its upper bits with zero is as good as zero, and nothing is below zero.
            None if place is None or place[0] == 0 else _Counts.of(_bits(entries), place[0])
            for entries, place in zip(values(tile), places, strict=True)
        ]
        return tile.start, found

    tiles = list(inputs.map(lower_bits)) if any(place and place[0] for place in places) else []
    return [
        None if place is None else _largest(place, [(start, found[index]) for start, found in tiles])
        for index, place in enumerate(places)
    ]


@dataclass(frozen=True)
class _Counts:
    """Numbers and how often they occur: int32, not as tensors, which would pin freed ones."""

    numbers: bytearray
    counts: bytearray

    @classmethod
    def of(cls, bits: Tensor, upper: int) -> "_Counts":
        """The lower bits of those whose upper bits are `upper`."""
        lower = torch.masked_select(bits, (bits >> 16) == upper) & 0xFFFF
        counts = torch.ones_like(lower)
        if len(lower) > _FEW:
            histogram = torch.bincount(lower, minlength=_LOW_BINS)
            lower = histogram.nonzero().flatten()
            counts = histogram[lower]
        return cls(*(bytearray(found.to(torch.int32).cpu().numpy()) for found in (lower, counts)))

    def tensors(self) -> tuple[Tensor, Tensor]:
        if not self.numbers:
            return torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=torch.int32)
        return torch.frombuffer(self.numbers, dtype=torch.int32), torch.frombuffer(
            self.counts, dtype=torch.int32
        )


def _largest(place: tuple[int, int], tiles: Sequence[tuple[int, _Counts | None]]) -> Largest:
    upper, rank = place
    if upper == 0:
        return Largest(bits=0, kept_ties={})
    occurring = [(start, *found.tensors()) for start, found in tiles if found is not None]
    histogram = torch.zeros(_LOW_BINS, dtype=torch.int64)
    for _, lower, counts in occurring:
        histogram.index_add_(0, lower, counts.long())
    low, kept = _bin_of(histogram, rank)
    kept_ties = {}
    for start, lower, counts in occurring:
        ties = int(counts[lower == low].sum())
        if ties > kept:
            kept_ties[start] = max(kept, 0)
        kept -= ties
    return Largest(bits=(upper << 16) | low, kept_ties=kept_ties)


def _bin_of(histogram: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the value of this rank from the top, and its rank within the bin."""
    from_top = histogram.flip(0).cumsum(0)
    position = int((from_top < rank).sum())
    above = int(from_top[position - 1]) if position else 0
    return len(histogram) - 1 - position, rank - above


def _bits(values: Tensor) -> Tensor:
    return values.abs().flatten().view(torch.int32)


def _from_bits(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))
