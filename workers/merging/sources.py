"""What a plan's tensors are made of: stored tensors, adapters over them, intermediates that no file holds.

Rows of an intermediate are computed whenever somebody reads them, from its own plan, and rounded to its dtype
as a file would have rounded them. Only its method's statistics are kept, as long as the tensor that they are
needed for is under way: the memory does not grow, and a method that passes over its inputs twice has them
computed twice.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from service.contracts.reference import split_reference
from service.recipes.plan import Plan, TensorRef, TensorTask
from service.recipes.vocabulary.runs import Run, runs
from workers.merging.counter_random import key_of
from workers.merging.dtypes import TORCH_DTYPES
from workers.merging.finite import rounded
from workers.merging.inputs import Inputs, RunAll, Source, Tile, TileFunction
from workers.merging.methods import load_method
from workers.merging.transfer import Reader, free_bytes, resident, upload
from workers.merging.vocabulary import permuted, run_identities
from workers.merging.weights import LowRankProduct, Weights

_SHARES_OF_MEMORY = 64
"""Of a GPU's free memory, all sources of a tensor stay there if they take no more than one of so many."""


class Sources:
    """The models that a plan refers to. `weights` has the stored ones; many threads may use it."""

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, Weights],
        device: torch.device,
        tile_elements: int,
        remark: Callable[[str, str], None],
    ) -> None:
        self._plan = plan
        self._weights = weights
        self._device = device
        self._tile_elements = tile_elements
        self._remark = remark
        self._most_resident = 0 if device.type == "cpu" else free_bytes(device) // _SHARES_OF_MEMORY
        self._tasks = {task.name: task for task in plan.tasks}
        self._products = {name: LowRankProduct(adapter) for name, adapter in plan.adapters.items()}
        self._intermediates = {
            name: Sources(inner, weights, device, tile_elements, partial(_remark_of, remark, name))
            for name, inner in plan.intermediates.items()
        }

    def prepare(self, task: TensorTask, run_all: RunAll) -> tuple[Inputs, TileFunction]:
        """The inputs of a tensor, and what is to be done with each of their tiles; statistics are done."""
        if self._is_untouched(task):
            return self._inputs(replace(task, sources=()), run_all), _base
        inputs = self._inputs(task, run_all)
        return inputs, load_method(self._plan.method)(inputs, task.parameters, task.model_parameters)

    def reader(self, tensor: TensorRef, run_all: RunAll) -> Reader:
        """Whatever passes over other tensors it takes to read this one are done, by `run_all`, on return."""
        if tensor.model in self._intermediates:
            return self._intermediates[tensor.model]._results(tensor.name, run_all)
        if tensor.model in self._products:
            base = self.reader(_beneath(tensor), run_all)
            product = self._products[tensor.model]
            return lambda start, stop, step: product.added_to(
                upload(base(start, stop, step), self._device), tensor.name, start, stop, step
            )
        return partial(self._weights[tensor.model].read, tensor.name)

    def _results(self, name: str, run_all: RunAll) -> Reader:
        """Rows of a tensor of this plan's result."""
        task = self._tasks[name]
        if task.copied:
            stored, dtype = self.reader(task.sources[0], run_all), TORCH_DTYPES[task.dtype]
            return lambda start, stop, step: stored(start, stop, step).to(dtype)
        inputs, apply = self.prepare(task, run_all)

        def read(start: int, stop: int, step: int) -> Tensor:
            # Random masks count elements from a tile's first one: rows that don't follow each other go alone.
            stretches = [(start, stop)] if step == 1 else [(row, row + 1) for row in range(start, stop, step)]
            dtype = TORCH_DTYPES[task.dtype]
            return torch.cat([rounded(apply(inputs.tile(*stretch)), dtype, name) for stretch in stretches])

        return read

    def _is_untouched(self, task: TensorTask) -> bool:
        """Whether all task vectors are zero because every source has the origin's very tensor."""
        return task.origin is not None and all(
            self._identity_in(task, source) == self._identity_in(task, task.origin) for source in task.sources
        )

    def _identity_in(self, task: TensorTask, tensor: TensorRef) -> Hashable:
        """Of the tensor in the result's vocabulary."""
        if not task.lenders:
            return self._identity(tensor)
        return run_identities(
            self._runs(tensor.model), {ref.model: self._identity(ref) for ref in task.lenders}
        )

    def _identity(self, tensor: TensorRef) -> Hashable:
        """As in Weights."""
        if tensor.model in self._intermediates:
            return tensor
        if tensor.model in self._products:
            return self._products[tensor.model].identity(tensor.name, self._identity(_beneath(tensor)))
        return self._weights[tensor.model].identity(tensor.name)

    def _inputs(self, task: TensorTask, run_all: RunAll) -> Inputs:
        return Inputs(
            name=task.name,
            shape=task.shape,
            models=[self._source(task, source, run_all) for source in task.sources],
            base=self._source(task, task.origin, run_all) if task.origin else None,
            keys=[key_of(self._plan.seed, task.name, source.model, source.name) for source in task.sources],
            run_all=run_all,
            load_dtype=TORCH_DTYPES[self._plan.load_dtype] if self._plan.load_dtype else None,
            result_dtype=TORCH_DTYPES[task.dtype],
            device=self._device,
            tile_elements=self._tile_elements,
            remark=partial(self._remark, task.name),
        )

    def _source(self, task: TensorTask, tensor: TensorRef, run_all: RunAll) -> Source:
        read = self._reader_in(task, tensor, run_all)
        size = task.nbytes * (len(task.sources) + 1)
        return Source(resident(read, self._device) if size <= self._most_resident else read)

    def _reader_in(self, task: TensorTask, tensor: TensorRef, run_all: RunAll) -> Reader:
        """Of the tensor in the result's vocabulary."""
        if not task.lenders:
            return self.reader(tensor, run_all)
        readers = {ref.model: self.reader(ref, run_all) for ref in task.lenders}
        return permuted(self._runs(tensor.model), readers, task.shape, self._device)

    def _runs(self, model: str) -> Sequence[Run]:
        assert self._plan.vocabulary is not None
        return runs(self._plan.vocabulary, model)


def _remark_of(remark: Callable[[str, str], None], intermediate: str, name: str, text: str) -> None:
    remark(f"{intermediate}/{name}", text)


def _beneath(tensor: TensorRef) -> TensorRef:
    """The tensor that an adapter adds to."""
    return replace(tensor, model=split_reference(tensor.model)[0])


def _base(tile: Tile) -> Tensor:
    assert tile.base is not None
    return tile.base
