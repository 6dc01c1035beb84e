"""Runs a plan: every tensor of the result in turn, several at once, in memory that does not grow with the model."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from service.recipes.plan import Plan, TensorTask
from workers.merging.counter_random import key_of
from workers.merging.inputs import TILE_ELEMENTS, Inputs
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

Allocate = Callable[[TensorTask], Tensor]


class NotFinite(Exception):
    """The arithmetic gave NaN or infinity: the recipe or a source is bad."""


def new_tensor(task: TensorTask) -> Tensor:
    """Fresh memory for a result; a sink on disk allocates in its file instead."""
    return torch.empty(task.shape, dtype=TORCH_DTYPES[task.dtype])


def merge(
    plan: Plan,
    weights: Mapping[str, Weights],
    *,
    allocate: Allocate = new_tensor,
    threads: int = 1,
    device: str = "cpu",
    tile_elements: int = TILE_ELEMENTS,
    between_tiles: Callable[[], None] = lambda: None,
    done: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) in the plan's order; the bytes do not depend on threads or on who consumes them.

    `between_tiles` may raise to stop the merge; `done` is told of each finished tile's bytes; both are called
    from several threads. Raises NotFinite, naming the tensor.
    """
    run = partial(
        _merge_tensor,
        plan,
        weights,
        allocate=allocate,
        device=torch.device(device),
        tile_elements=tile_elements,
        between_tiles=between_tiles,
        done=done,
    )
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = iter(plan.tasks)
        pending: deque[tuple[str, Future[Tensor]]] = deque()
        try:
            for task in tasks:
                pending.append((task.name, pool.submit(run, task)))
                if len(pending) > 2 * threads:
                    name, future = pending.popleft()
                    yield name, future.result()
            while pending:
                name, future = pending.popleft()
                yield name, future.result()
        finally:
            for _, future in islice(pending, None):
                future.cancel()


def _merge_tensor(
    plan: Plan,
    weights: Mapping[str, Weights],
    task: TensorTask,
    *,
    allocate: Allocate,
    device: torch.device,
    tile_elements: int,
    between_tiles: Callable[[], None],
    done: Callable[[int], None],
) -> Tensor:
    out = allocate(task)
    if task.copied:
        out.copy_(whole_tensor(weights[plan.donor], task.name, task.shape, out.dtype))
        done(task.nbytes)
        return out
    inputs = Inputs(
        task.name,
        task.shape,
        [weights[source] for source in plan.sources],
        weights[plan.origin] if plan.origin else None,
        [key_of(plan.seed, task.name, source) for source in plan.sources],
        load_dtype=TORCH_DTYPES[plan.load_dtype] if plan.load_dtype else None,
        device=device,
        tile_elements=tile_elements,
        between_tiles=between_tiles,
    )
    apply = load_method(plan.method)(inputs, task.parameters, task.model_parameters)
    rows = as_rows(out)
    for tile in inputs.tiles():
        result = apply(tile)
        if not bool(torch.isfinite(result).all()):
            raise NotFinite(f"{task.name}: the merge gives NaN or infinity; look at the weights and the sources")
        rows[tile.start : tile.stop].copy_(result)
        done(result.numel() * out.element_size())
    return out
