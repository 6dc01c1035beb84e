"""`polymerge submit` with several recipes: lists on the command line, and a row for each result."""

import json
from typing import Any

import typer
import yaml

from clients.commands.output import finish, print_json, print_table, print_warnings, size
from clients.sdk.client import Polymerge
from service.contracts.merges import PlanList, Submitted, SubmittedList
from service.contracts.plan import PlanSummary


def add_sweep(text: str, sweep: list[str]) -> str:
    """The recipe with `PATH=[VALUE, …]` for each of `sweep` added to its own. Raises typer.BadParameter."""
    recipe = _parse(text, "RECIPE")
    if not isinstance(recipe, dict):
        raise typer.BadParameter("--sweep needs a single recipe")
    lists = dict(recipe.get("sweep") or {})
    for item in sweep:
        path, _, values = item.partition("=")
        lists[path] = _parse(values, f"--sweep {path}")
        if not isinstance(lists[path], list):
            raise typer.BadParameter(f"--sweep {path} needs a list, such as '{path}=[0.3, 0.5]'")
    return json.dumps(recipe | {"sweep": lists})


def print_plans(plans: PlanSummary | PlanList, as_json: bool) -> None:
    """What one merge would do at length, or a row for each of several."""
    for plan in plans.items if isinstance(plans, PlanList) else [plans]:
        print_warnings(plan)
    if as_json:
        print_json(plans)
    elif isinstance(plans, PlanSummary):
        print_table(
            ("", ""),
            [
                ("model", plans.model + (" (exists)" if plans.exists else "")),
                ("method", plans.method),
                ("sources", ", ".join(plans.sources)),
                ("base", plans.base or "-"),
                ("made on the way", ", ".join(plans.intermediates) or "-"),
                ("config and tokenizer", plans.donor),
                ("tensors", f"{plans.tensors} ({plans.parameters / 1e6:.0f} M parameters)"),
                ("reads", size(plans.bytes_read)),
                ("writes", f"{size(plans.bytes_written)} ({size(plans.bytes_free)} free)"),
            ],
        )
    else:
        rows = [(plan.model, plan.method, "yes" if plan.exists else "no") for plan in plans.items]
        print_table(("model", "method", "exists"), rows)


def print_submitted(service: Polymerge, submitted: SubmittedList, no_wait: bool, as_json: bool) -> None:
    """A row for each recipe, once all models are there, unless nobody wants to wait."""
    for item in submitted.items:
        print_warnings(item)
    items = submitted.items if no_wait else [_finished(service, item) for item in submitted.items]
    if as_json:
        print_json(SubmittedList(items=items))
        return
    paths = list(dict.fromkeys(path for item in items for path in item.varied))
    rows = [
        (item.name or "", item.model, item.state, *(_show(item.varied.get(path)) for path in paths))
        for item in items
    ]
    print_table(("name", "model", "state", *paths), rows)


def _finished(service: Polymerge, item: Submitted) -> Submitted:
    if item.job is None:
        return item
    finish(service, service.jobs.get(item.job))
    return item.model_copy(update={"state": "written"})


def _show(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{place} is neither JSON nor YAML: {error}") from None
