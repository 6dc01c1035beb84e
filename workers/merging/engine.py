"""Runs a plan: every tensor of the result in turn, in memory that does not grow with the model."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite

import torch
from torch import Tensor

from service.recipes.plan import Plan, TensorRef, TensorTask
from workers.merging.counter_random import key_of
from workers.merging.inputs import TILE_ELEMENTS, Inputs, Result, RunAll, Source, Tile, TileFunction
from workers.merging.methods import load_method
from workers.merging.weights import Weights, as_rows, whole_tensor

TORCH_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LARGE_ELEMENTS = 4 * 1024 * 1024
"""From this size on all threads work on one tensor; smaller ones are merged side by side."""


@dataclass(frozen=True)
class Destination:
    """Where a tensor of the result goes."""

    tensor: Tensor
    """The result, to be read once all rows are written."""
    write: Callable[[int, Tensor], None]
    """Rows from a start on, in the tensor's dtype, as in its two-dimensional view; any thread, any order."""


Allocate = Callable[[TensorTask], Destination]


class NotFinite(Exception):
    """The arithmetic gave NaN or infinity: the recipe or a source is bad."""


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
    tile_elements: int = TILE_ELEMENTS,
    between_tiles: Callable[[], None] = lambda: None,
    done: Callable[[int], None] = lambda _: None,
    remark: Callable[[str, str], None] = lambda name, text: None,
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) in the plan's order; the bytes do not depend on threads or on who consumes them.

    `between_tiles` may raise to stop the merge; `done` is told of each finished tile's bytes; `remark` of a
    tensor and what the method has to say about it. All are called from several threads. Raises NotFinite,
    naming the tensor.
    """
    line = _Line(between_tiles)
    bench = _Bench(plan, weights, allocate, torch.device(device), tile_elements, line, done, remark)
    pending: deque[tuple[str, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for task in plan.tasks:
                large = task.numel >= _LARGE_ELEMENTS
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

    plan: Plan
    weights: Mapping[str, Weights]
    allocate: Allocate
    device: torch.device
    tile_elements: int
    line: "_Line"
    done: Callable[[int], None]
    remark: Callable[[str, str], None]

    def merge_tensor(self, task: TensorTask, run_all: RunAll) -> Tensor:
        out = self.allocate(task)
        if not task.numel:
            return out.tensor
        if task.copied:
            (source,) = task.sources
            copy = whole_tensor(self.weights[source.model], source.name, task.shape, out.tensor.dtype)
            out.write(0, as_rows(copy))
            self.done(task.nbytes)
            return out.tensor
        inputs, apply = self._prepare(task, run_all)

        def write(tile: Tile) -> None:
            rows = apply(tile).to(out.tensor.dtype)
            if not _is_finite(rows):
                raise NotFinite(f"{task.name}: the merge gives NaN or infinity; look at weights and sources")
            out.write(tile.start, rows)
            self.done(rows.nbytes)

        for _ in inputs.map(write):
            pass
        return out.tensor

    def _prepare(self, task: TensorTask, run_all: RunAll) -> tuple[Inputs, TileFunction]:
        """The inputs of a tensor, and what is to be done with each of their tiles."""
        if self._is_untouched(task):
            return self._inputs(replace(task, sources=()), run_all), _base
        inputs = self._inputs(task, run_all)
        return inputs, load_method(self.plan.method)(inputs, task.parameters, task.model_parameters)

    def _is_untouched(self, task: TensorTask) -> bool:
        """Whether all task vectors are zero because every source has the origin's very tensor."""
        return task.origin is not None and all(
            self._identity(source) == self._identity(task.origin) for source in task.sources
        )

    def _identity(self, tensor: TensorRef) -> Hashable:
        return self.weights[tensor.model].identity(tensor.name)

    def _inputs(self, task: TensorTask, run_all: RunAll) -> Inputs:
        return Inputs(
            name=task.name,
            shape=task.shape,
            models=[self._source(source) for source in task.sources],
            base=self._source(task.origin) if task.origin else None,
            keys=[key_of(self.plan.seed, task.name, source.model, source.name) for source in task.sources],
            run_all=self.line.guarded(run_all),
            load_dtype=TORCH_DTYPES[self.plan.load_dtype] if self.plan.load_dtype else None,
            device=self.device,
            tile_elements=self.tile_elements,
            remark=partial(self.remark, task.name),
        )

    def _source(self, tensor: TensorRef) -> Source:
        return Source(partial(self.weights[tensor.model].read, tensor.name))


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


def _base(tile: Tile) -> Tensor:
    assert tile.base is not None
    return tile.base


def _is_finite(tensor: Tensor) -> bool:
    # NaN and infinity survive a sum, which is far quicker than looking at every element; a sum may overflow.
    return isfinite(float(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())
