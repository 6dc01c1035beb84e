"""Computes the weights of a virtual model: its recipe, run again on its sources."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from service.contracts.model import Manifest
from service.models.store import Store
from service.recipes.parse import validate_recipe
from service.recipes.stored import plan_stored
from service.settings import Settings
from workers.merging.engine import merge
from workers.merging.model_folder import find_device
from workers.open_model import open_model


def merged_tensors(
    store: Store, manifest: Manifest, names: Sequence[str], settings: Settings
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) in the order of `names`, to the bit what a merge job writes under the same id.

    Raises Refused, OSError or SafetensorError for sources that are not as they were, and NotFinite.
    """
    recipe = validate_recipe(manifest.recipe)
    plan = plan_stored(recipe, store, manifest.seed or 0)
    by_name = {task.name: task for task in plan.tasks}
    ordered = replace(plan, tasks=tuple(by_name[name] for name in names))
    weights = {ref: open_model(store.path(ref)) for ref in plan.models}
    with _on_all_cores():
        yield from merge(
            ordered, weights, threads=settings.merge_threads, device=find_device(settings.device)
        )


@contextmanager
def _on_all_cores() -> Iterator[None]:
    """vLLM ties its workers to some cores, and threads inherit that: lets ours run where its parent may."""
    bound = os.sched_getaffinity(0)
    os.sched_setaffinity(0, os.sched_getaffinity(os.getppid()))
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)
