"""The k largest entries of each task vector by magnitude, found by counting instead of sorting.

Non-negative float32 numbers sort as their bit patterns do, so two histograms (upper, then lower 16 bits)
give the k-th magnitude exactly in two passes over the tiles. Among equal magnitudes at the boundary those
with the lowest index are kept, which needs a third pass that counts them tile by tile.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.merging.inputs import Inputs, Tile

_HIGH_BINS, _LOW_BINS = 1 << 15, 1 << 16


@dataclass
class LargestEntries:
    """Which entries of one task vector are among the k largest."""

    threshold: int
    """Bit pattern of the k-th magnitude."""
    ties: int
    """How many entries have exactly that magnitude, ..."""
    kept_ties: int
    """... and how many of them, from the lowest index on, are kept."""
    ties_before: dict[int, int]
    """Ties in all tiles before the one that starts at a row; empty when all are kept."""

    def mask(self, task_vector: Tensor, tile: Tile) -> Tensor:
        bits = _magnitude_bits(task_vector)
        if self.ties == self.kept_ties:
            return bits >= self.threshold
        allowed = self.kept_ties - self.ties_before[tile.start]
        tied = bits == self.threshold
        rank = tied.flatten().cumsum(0).reshape(tied.shape)
        return (bits > self.threshold) | (tied & (rank <= allowed))


def largest_entries(inputs: Inputs, densities: list[float]) -> list[LargestEntries | None]:
    """One per model, keeping int(density * size) entries, at least one; None where density is 1."""
    counts = [None if d >= 1 else max(1, int(d * inputs.numel)) for d in densities]
    if all(count is None for count in counts):
        return [None for _ in counts]
    high = _histograms(inputs, counts, None)
    upper = [None if k is None else _kth_bin(h, k) for h, k in zip(high, counts, strict=True)]
    low = _histograms(inputs, counts, upper)
    found = [
        None if place is None else _entries(place, histogram)
        for place, histogram in zip(upper, low, strict=True)
    ]
    _count_ties(inputs, found)
    return found


def _histograms(
    inputs: Inputs, counts: list[int | None], upper: list[tuple[int, int] | None] | None
) -> list[Tensor]:
    """Counts of the upper 16 bits, or, given each model's bin of those, of the lower 16 bits inside it."""
    size = _HIGH_BINS if upper is None else _LOW_BINS
    totals = [torch.zeros(size, dtype=torch.int64) for _ in counts]
    for tile in inputs.tiles():
        for index, delta in enumerate(tile.task_vectors()):
            if counts[index] is None:
                continue
            bits = _magnitude_bits(delta).flatten()
            place = upper[index] if upper else None
            values = bits >> 16 if place is None else bits[(bits >> 16) == place[0]] & 0xFFFF
            totals[index] += torch.bincount(values, minlength=size).cpu()
    return totals


def _kth_bin(histogram: Tensor, k: int) -> tuple[int, int]:
    """The bin that holds the k-th largest, and how many of its entries are among the k largest."""
    from_top = histogram.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, k))
    above = int(from_top[position - 1]) if position else 0
    return len(histogram) - 1 - position, k - above


def _entries(place: tuple[int, int], histogram: Tensor) -> LargestEntries:
    high, wanted = place
    low, kept = _kth_bin(histogram, wanted)
    return LargestEntries(
        threshold=(high << 16) | low, ties=int(histogram[low]), kept_ties=kept, ties_before={}
    )


def _count_ties(inputs: Inputs, found: list[LargestEntries | None]) -> None:
    pending = [(i, item) for i, item in enumerate(found) if item is not None and item.ties != item.kept_ties]
    if not pending:
        return
    seen = dict.fromkeys((i for i, _ in pending), 0)
    for tile in inputs.tiles():
        deltas = tile.task_vectors()
        for index, item in pending:
            item.ties_before[tile.start] = seen[index]
            seen[index] += int((_magnitude_bits(deltas[index]) == item.threshold).sum())


def _magnitude_bits(task_vector: Tensor) -> Tensor:
    return task_vector.abs().view(torch.int32)
