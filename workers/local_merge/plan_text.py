"""The plan of a local merge on one screen."""

from collections.abc import Iterable, Mapping

import psutil
from rich.filesize import decimal

from service.contracts.local_merge import LocalMerge
from service.contracts.model import TensorEntry
from service.recipes.accept import Accepted
from service.recipes.tensor_names import stored_name
from workers.local_merge.local_models import LocalModel

_SHOWN = 12


def plan_text(
    merge: Accepted, models: Mapping[str, LocalModel], ids: Mapping[str, str], options: LocalMerge, free: int
) -> str:
    """`models` and `ids` by the recipe's references; `free` are the bytes free where the result goes."""
    plan = merge.plan
    names = {ids[reference]: reference for reference in models}
    rows = {
        "method": plan.method,
        "base": _named(merge.recipe.base_model, names) if merge.recipe.base_model else "none",
        "ingredients": _lines(names[source] for source in plan.sources),
        "config, tokenizer": f"of {names[plan.stored_donor]}",
        "tensors": f"{len(plan.tasks)}, {sum(task.numel for task in plan.tasks) / 1e6:.1f} M parameters",
        "vocabulary": _vocabulary(plan.tensors),
        "dtype": ", ".join(sorted({task.dtype for task in plan.tasks})),
        "writes": f"{decimal(plan.bytes_written)} to {options.out} ({decimal(free)} free)",
        "device": f"{options.device}, {options.threads} threads, seed {merge.seed}",
        "memory": f"tile by tile, sources mapped; {decimal(psutil.virtual_memory().available)} available",
    }
    return "\n".join(f"{label:<18}{value}" for label, value in rows.items())


def _named(reference: str, names: Mapping[str, str]) -> str:
    """By its names: a model, one with an adapter over it; an intermediate has none but its id."""
    return "+".join(names.get(part, part) for part in reference.split("+"))


def _lines(names: Iterable[str]) -> str:
    listed = list(names)
    shown = listed[:_SHOWN] + ([f"… and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else [])
    return f"\n{'':<18}".join(shown)


def _vocabulary(tensors: Mapping[str, TensorEntry]) -> str:
    """Rows of the output head, or of the embedding that it is tied to."""
    head = stored_name(tensors, "lm_head.weight")
    return f"{tensors[head].shape[0]} tokens" if head else "none found"
