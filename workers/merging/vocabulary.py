"""A model's embeddings in the result's vocabulary, put together from rows as they are read."""

import threading
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from service.recipes.vocabulary.runs import Run
from workers.merging.inputs import TILE_ELEMENTS
from workers.merging.transfer import Reader, upload


def permuted(
    runs: Sequence[Run], readers: Mapping[str, Reader], shape: tuple[int, ...], device: torch.device
) -> Reader:
    """Reads one model's embedding (or bias of an output head) as the result has it.

    `readers` has the tensor of every model that may lend rows; `shape` is the result's.
    """
    if len(shape) > 1:
        return _PermutedRows(runs, readers, device).read
    column = _PermutedRows(runs, {model: _column(read) for model, read in readers.items()}, device)
    return lambda start, stop, step: column.read(0, shape[0], 1).T


def run_identities(runs: Sequence[Run], identities: Mapping[str, Hashable]) -> Hashable:
    """Equal where all rows are the same rows of the same tensors; `identities` are those of the lenders'."""

    def identity(run: Run) -> Hashable:
        sources = run.sources
        return sources if sources is None else tuple((identities[model], first) for model, first in sources)

    return tuple((run.start, identity(run)) for run in runs)


class _PermutedRows:
    """A stretch within one run of one model is that model's own memory. Means are float32."""

    def __init__(self, runs: Sequence[Run], readers: Mapping[str, Reader], device: torch.device) -> None:
        self._runs = runs
        self._starts = [run.start for run in runs]
        self._readers = readers
        self._device = device
        self._mean: Tensor | None = None
        self._lock = threading.Lock()

    def read(self, start: int, stop: int, step: int) -> Tensor:
        """Rows start, start + step, … below stop."""
        stretches = [(start, stop)] if step == 1 else [(row, row + 1) for row in range(start, stop, step)]
        pieces = [self._rows(run, *part) for stretch in stretches for run, *part in self._parts(*stretch)]
        if len(pieces) == 1:
            return pieces[0]
        same = len({piece.dtype for piece in pieces}) == 1
        return torch.cat(pieces if same else [piece.float() for piece in pieces])

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Run, int, int]]:
        """The runs that make up rows start to stop - 1, with their share of those."""
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            run = self._runs[index]
            end = min(run.stop, stop)
            yield run, start, end
            start, index = end, index + 1

    def _rows(self, run: Run, start: int, stop: int) -> Tensor:
        if run.sources is None:
            return self._mean_row().expand(stop - start, -1)
        rows = [
            upload(self._readers[model](first + start - run.start, first + stop - run.start, 1), self._device)
            for model, first in run.sources
        ]
        if len(rows) == 1:
            return rows[0]
        if not rows:
            return torch.zeros(stop - start, self._width(), device=self._device)
        return torch.stack([part.float() for part in rows]).mean(0)

    def _mean_row(self) -> Tensor:
        """The mean of all rows that stand for something. Costs one pass, the first time."""
        with self._lock:
            if self._mean is None:
                total = torch.zeros(self._width(), dtype=torch.float64, device=self._device)
                count = 0
                step = max(1, TILE_ELEMENTS // self._width())
                for run in self._runs:
                    if run.sources is not None:
                        for start in range(run.start, run.stop, step):
                            rows = self._rows(run, start, min(start + step, run.stop))
                            total += rows.sum(0, dtype=torch.float64)
                        count += run.stop - run.start
                self._mean = (total / max(count, 1)).float()[None]
            return self._mean

    def _width(self) -> int:
        return next(iter(self._readers.values()))(0, 1, 1).shape[1]


def _column(read: Reader) -> Reader:
    """A vector, which is one row, as a column."""
    return lambda start, stop, step: read(0, 1, 1)[0, start:stop:step, None]
