"""Runs a plan: every tensor of the result in turn, in memory that does not grow with the model."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from service.contracts.model import TensorEntry
from service.recipes.plan import Plan, TensorTask
from service.recipes.tensor_names import is_merged
from workers.merging.dtypes import TORCH_DTYPES
from workers.merging.finite import NotFinite, rounded
from workers.merging.freed_memory import keep_freed_memory
from workers.merging.inputs import TILE_ELEMENTS, TILE_ELEMENTS_ON_GPU, Result, RunAll, Tile
from workers.merging.sources import Sources
from workers.merging.transfer import download
from workers.merging.weights import Weights, as_rows, row_layout

__all__ = ["TORCH_DTYPES", "Destination", "NotFinite", "in_memory", "merge"]

_COPIED_ELEMENTS = 1024 * 1024
_LARGE_ELEMENTS = 16 * 1024 * 1024
_LARGE_ELEMENTS_ON_GPU = 256 * 1024 * 1024
"""From this size on all threads work on one tensor; smaller ones are merged side by side."""
_THREADS_ON_GPU = 8
"""More would wait for one another, and for the GPU, most of the time."""


@dataclass(frozen=True)
class Destination:
    """Where a tensor of the result goes."""

    tensor: Tensor
    """The result, to be read once all rows are written."""
    write: Callable[[int, Tensor], None]
    """Rows from a start on, in the tensor's dtype and the host's memory; any thread, any order.

    Rows as in its two-dimensional view.
    """


Allocate = Callable[[TensorTask], Destination]


class _Stopped(Exception):
    """Another thread has failed, or nobody wants the rest."""


def in_memory(task: TensorTask) -> Destination:
    """Fresh memory for a result; a sink on disk has a place in its file instead."""
    tensor = torch.empty(task.shape, dtype=TORCH_DTYPES[task.dtype])
    rows = as_rows(tensor)

    def write(start: int, values: Tensor) -> None:
        rows[start : start + len(values)].copy_(values)

    return Destination(tensor, write)


def merge(
    plan: Plan,
    weights: Mapping[str, Weights],
    *,
    allocate: Allocate = in_memory,
    threads: int = 1,
    device: str = "cpu",
    tile_elements: int | None = None,
    between_tiles: Callable[[], None] = lambda: None,
    done: Callable[[int], None] = lambda _: None,
    remark: Callable[[str, str], None] = lambda name, text: None,
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) in the plan's order; the bytes do not depend on threads or on who consumes them.

    `weights` are those of the models in `plan.models`; what the plan derives from them (adapters over a
    model, intermediates) is computed as it is needed.
    `between_tiles` may raise to stop the merge; `done` is told of each finished tile's bytes; `remark` of a
    tensor and what the method has to say about it. All are called from several threads. Raises NotFinite,
    naming the tensor.
    """
    keep_freed_memory()
    on_cpu = torch.device(device).type == "cpu"
    tile_elements = tile_elements or (TILE_ELEMENTS if on_cpu else TILE_ELEMENTS_ON_GPU)
    large_elements = _LARGE_ELEMENTS if on_cpu else _LARGE_ELEMENTS_ON_GPU
    threads = threads if on_cpu else min(threads, _THREADS_ON_GPU)
    line = _Line(between_tiles)
    sources = Sources(plan, weights, torch.device(device), tile_elements, remark)
    bench = _Bench(sources, allocate, line, done)
    pending: deque[tuple[str, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for task in plan.tasks:
                large = task.numel >= large_elements
                while pending and (large or len(pending) > 4 * threads):
                    name, future = pending.popleft()
                    yield name, future.result()
                if large:
                    yield task.name, bench.merge_tensor(task, partial(_side_by_side, pool, 4 * threads))
                else:
                    pending.append((task.name, pool.submit(bench.merge_tensor, task, map)))
            while pending:
                name, future = pending.popleft()
                yield name, future.result()
        except _Stopped:
            raise line.errors[0] from None
        finally:
            line.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _side_by_side(
    pool: ThreadPoolExecutor, ahead: int, function: Callable[[int], Result], starts: Iterable[int], /
) -> Iterator[Result]:
    """A pool's map that holds at most `ahead` results that nobody has taken yet."""
    pending: deque[Future[Result]] = deque()
    for start in starts:
        pending.append(pool.submit(function, start))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@dataclass(frozen=True)
class _Bench:
    """Where one tensor after another is merged."""

    sources: Sources
    allocate: Allocate
    line: "_Line"
    done: Callable[[int], None]

    def merge_tensor(self, task: TensorTask, run_all: RunAll) -> Tensor:
        out = self.allocate(task)
        if not task.numel:
            return out.tensor
        guarded = self.line.guarded(run_all)
        if task.copied:
            self._copy(task, out, guarded)
            return out.tensor
        inputs, apply = self.sources.prepare(task, guarded)

        def write(tile: Tile) -> None:
            rows = download(rounded(apply(tile), out.tensor.dtype, task.name))
            out.write(tile.start, rows)
            self.done(rows.nbytes)

        for _ in inputs.map(write):
            pass
        return out.tensor

    def _copy(self, task: TensorTask, out: Destination, run_all: RunAll) -> None:
        read = self.sources.reader(task.sources[0], run_all)
        rows, width = row_layout(task.shape)
        step = max(1, _COPIED_ELEMENTS // max(1, width))
        dtype = out.tensor.dtype
        # Masks of old checkpoints, which are no weights, may well be infinite.
        weights = is_merged(task.name, TensorEntry(shape=list(task.shape), dtype=task.dtype))

        def copy(start: int) -> None:
            stored = read(start, min(rows, start + step), 1)
            stretch = download(rounded(stored, dtype, task.name) if weights else stored.to(dtype))
            out.write(start, stretch)
            self.done(stretch.nbytes)

        for _ in run_all(copy, range(0, rows, step)):
            pass


class _Line:
    """What stops the work of all threads at the first error of one."""

    def __init__(self, between_tiles: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self.errors: list[Exception] = []
        self._between_tiles = between_tiles

    def guarded(self, run_all: RunAll) -> RunAll:
        """`run_all` that looks between tiles whether to go on."""

        def run(function: Callable[[int], Result], starts: Iterable[int], /) -> Iterator[Result]:
            return run_all(partial(self._run, function), starts)

        return run

    def _run(self, function: Callable[[int], Result], start: int) -> Result:
        if self.stopped.is_set():
            raise _Stopped
        try:
            self._between_tiles()
            return function(start)
        except Exception as error:
            self.errors.append(error)
            self.stopped.set()
            raise
