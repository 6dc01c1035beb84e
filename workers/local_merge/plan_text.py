"""The plan of a local merge on one screen."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import psutil
from rich.filesize import decimal

from service.contracts.local_merge import LocalMerge
from service.contracts.methods.spec import MethodParameters
from service.contracts.model import TensorEntry
from service.contracts.recipe import Recipe
from service.recipes.accept import Accepted
from service.recipes.plan import Plan
from service.recipes.tensor_names import stored_name

_SHOWN = 12


def plan_text(
    written: Recipe, merge: Accepted, ids: Mapping[str, str], options: LocalMerge, free: int
) -> str:
    """`written` is the recipe as its author has it, `ids` those of the models by its references.

    `free` are the bytes free where the result goes.
    """
    plan = merge.plan
    names = _names(written, merge.recipe, ids)
    inner = _intermediates(plan).items()
    steps = [line for name, step in inner for line in _step(names[name], step, names)]
    rows = {
        "method": plan.method,
        "base": names[merge.recipe.base_model] if merge.recipe.base_model else "none",
        "ingredients": _lines(_ingredients(plan, names)),
        "parameters": _shared(plan) or "none",
        "made on the way": _lines(steps) or "nothing",
        "config, tokenizer": f"of {names[plan.stored_donor]}",
        "tensors": f"{len(plan.tasks)}, {sum(task.numel for task in plan.tasks) / 1e6:.1f} M parameters",
        "vocabulary": _vocabulary(plan.tensors),
        "dtype": ", ".join(sorted({task.dtype for task in plan.tasks})),
        "writes": f"{decimal(plan.bytes_written)} to {options.out} ({decimal(free)} free)",
        "device": f"{options.device}, {options.threads} threads, seed {merge.seed}",
        "memory": f"tile by tile, sources mapped; {decimal(psutil.virtual_memory().available)} available",
    }
    return "\n".join(f"{label:<18}{value}" for label, value in rows.items())


def _names(written: Recipe, pinned: Recipe, ids: Mapping[str, str]) -> dict[str, str]:
    """What the recipe's author calls models, adapters over models, and intermediates."""
    names = {id_: reference for reference, id_ in ids.items()}
    for own, document in zip(written.intermediates, pinned.intermediates, strict=True):
        names[str(document.name)] = str(own.name)
    for (_, own_reference), (_, reference) in zip(written.all_mentions(), pinned.all_mentions(), strict=True):
        names[reference] = own_reference
    return names


def _ingredients(plan: Plan, names: Mapping[str, str]) -> list[str]:
    """Each with its own parameters, as they are after gradients, filters and defaults."""
    found: dict[str, list[MethodParameters]] = {}
    for task in plan.tasks:
        # Tensors that are copied have none.
        for source, parameters in zip(task.sources, task.model_parameters, strict=False):
            found.setdefault(names[source.model], []).append(parameters)
    width = max(map(len, found), default=0)
    return [f"{name:<{width}}  {_values(own)}".rstrip() for name, own in found.items()]


def _intermediates(plan: Plan) -> dict[str, Plan]:
    """Of all depths, each after those that it is made from."""
    found: dict[str, Plan] = {}
    for name, inner in plan.intermediates.items():
        found |= _intermediates(inner) | {name: inner}
    return found


def _step(name: str, plan: Plan, names: Mapping[str, str]) -> Iterator[str]:
    yield ", ".join(filter(None, [f"{name}: {plan.method}", _shared(plan)]))
    yield from (f"  {line}" for line in _ingredients(plan, names))


def _shared(plan: Plan) -> str:
    """The method's own parameters."""
    return _values(task.parameters for task in plan.tasks)


def _values(parameters: Iterable[MethodParameters | None]) -> str:
    """Of all tensors: a range where they differ."""
    dumps = [item.model_dump(by_alias=True) for item in dict.fromkeys(parameters) if item]
    ranges = {name: {dump[name] for dump in dumps} for name in (dumps[0] if dumps else ())}
    return ", ".join(f"{name} {_range(values)}" for name, values in ranges.items())


def _range(values: Collection[float]) -> str:
    low, high = min(values), max(values)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _lines(items: Iterable[str]) -> str:
    listed = list(items)
    shown = listed[:_SHOWN] + ([f"… and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else [])
    return f"\n{'':<18}".join(shown)


def _vocabulary(tensors: Mapping[str, TensorEntry]) -> str:
    """Rows of the output head, or of the embedding that it is tied to."""
    head = stored_name(tensors, "lm_head.weight")
    return f"{tensors[head].shape[0]} tokens" if head else "none found"
