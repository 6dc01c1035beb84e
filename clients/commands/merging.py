"""Commands about recipes and the jobs that build them."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.commands.options import MERGE, AsJson, Url, examples
from clients.commands.output import finish, print_json, print_model, print_table, print_warnings, size, when
from clients.commands.sweeping import add_sweep, print_plans, print_submitted
from clients.sdk.client import DEFAULT_URL, Polymerge
from clients.sdk.errors import JobFailed
from service.contracts.job import Job, JobKind, JobState
from service.contracts.merges import SubmittedList
from service.contracts.methods.spec import MethodDescription

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, j_…")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job and return, while it runs.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=MERGE, epilog=_SUBMIT)(submit)
    app.command(rich_help_panel=MERGE, epilog=examples("polymerge watch j_0123456789abcdef"))(watch)
    app.command(rich_help_panel=MERGE, epilog=_JOBS)(jobs)
    app.command("log", rich_help_panel=MERGE, epilog=examples("polymerge log j_0123456789abcdef"))(show_log)
    app.command(rich_help_panel=MERGE, epilog=examples("polymerge cancel j_0123456789abcdef"))(cancel)
    app.command(rich_help_panel=MERGE, epilog=examples("polymerge methods", "polymerge methods --json"))(
        methods
    )


_JOBS = examples(
    "polymerge jobs --limit 5",
    "polymerge jobs --state running --kind merge",
    "polymerge jobs --since 2026-11-01 --json",
)
_SUBMIT = examples(
    "polymerge submit recipes/objective-slerp.yaml --name safer",
    "polymerge submit recipe.yaml --dry-run",
    "polymerge submit recipe.yaml --seed 7 --no-wait --json",
    "polymerge submit recipe.yaml --name grid --virtual --sweep 'parameters.t=[0.3, 0.5, 0.7]'",
)


def submit(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="File with the recipe (YAML or JSON); - reads it from standard input."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Alias for the finished model.")] = None,
    seed: Annotated[int | None, typer.Option(help="For methods that draw random numbers.", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the merge would do.")] = False,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="Write nothing: an engine merges whenever it loads the model.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=[VALUE, …]", help="Make a model for each value; repeat it for a grid."),
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Warn of unknown keys, and go on.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that one attempt may take.", metavar="SECONDS", min=0)
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Sent again with the same key, it is not queued again.", metavar="KEY")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Merge models as a recipe says, and wait for the result.

    A recipe that was built before is answered at once with its model. A recipe with lists under `sweep` makes
    a model of every combination, with the NAME and a number.
    """
    text = sys.stdin.read() if str(recipe) == "-" else recipe.read_text(encoding="utf-8")
    if sweep:
        text = add_sweep(text, sweep)
    with Polymerge(url) as service:
        if dry_run:
            print_plans(service.merges.plan_any(text, seed, lenient=lenient), as_json)
            return
        work = service.merges.send(
            text,
            name,
            seed,
            False if virtual else None,
            lenient=lenient,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )
        if isinstance(work, SubmittedList):
            print_submitted(service, work, no_wait, as_json)
            return
        print_warnings(work)
        if isinstance(work, Job) and no_wait:
            print_json(work) if as_json else print(work.id)
            return
        model = finish(service, work)
    print_json(model) if as_json else print_model(model)


def watch(job: JobArgument, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Follow a job to its end; with --json, its events, one a line."""
    with Polymerge(url) as service:
        if as_json:
            for event in service.jobs.events(job):
                print(event.model_dump_json(), flush=True)
            ended = service.jobs.get(job)
            if ended.state != "succeeded":
                raise JobFailed(ended)
        else:
            print_model(finish(service, service.jobs.get(job)))


def jobs(
    state: Annotated[JobState | None, typer.Option()] = None,
    kind: Annotated[JobKind | None, typer.Option()] = None,
    name: Annotated[str | None, typer.Option(help="Alias that the model gets.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Created after this time.")] = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first."""
    with Polymerge(url) as service:
        page = service.jobs.page(
            limit=limit, state=[state] if state else (), kind=kind, name=name, created_after=since
        )
    found = page.items
    if as_json:
        print_json(found)
    else:
        print_table(
            ("job", "kind", "state", "name", "model", "done", "created", "error"),
            [
                (
                    job.id,
                    job.kind,
                    " for ".join(["waiting", ", ".join(job.waiting_for)]) if job.waiting_for else job.state,
                    job.name or "",
                    job.model or "",
                    f"{size(job.progress.bytes_done)} of {size(job.progress.bytes_total)}",
                    when(job.created_at),
                    job.error.detail if job.error else "",
                )
                for job in found
            ],
        )


def show_log(job: JobArgument, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Print the last lines that workers have written about a job."""
    with Polymerge(url) as service:
        lines = service.jobs.log(job)
    print_json(lines) if as_json else print(*lines, sep="\n")


def cancel(job: JobArgument, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """End a job: a queued one at once, a running one within a second or two."""
    with Polymerge(url) as service:
        found = service.jobs.cancel(job)
    waiting = " (cancel requested)" if found.cancel_requested and not found.finished else ""
    print_json(found) if as_json else print(f"{found.id} {found.state}{waiting}")


def methods(as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the merge methods and their parameters."""
    with Polymerge(url) as service:
        found = service.methods()
    if as_json:
        print_json(found)
    else:
        print_table(
            ("method", "models", "base", "parameters", "for each model", "what it does"),
            [
                (
                    item.name,
                    ": ".join(filter(None, (_arity(item), ", ".join(item.roles)))),
                    item.base,
                    _parameters(item.parameters),
                    _parameters(item.model_parameters),
                    item.summary,
                )
                for item in found
            ],
        )


def _arity(method: MethodDescription) -> str:
    if method.max_models == method.min_models:
        return str(method.min_models)
    return f"{method.min_models}-{method.max_models}" if method.max_models else f"{method.min_models} or more"


def _parameters(schema: dict[str, Any]) -> str:
    """name=default, or the bare name of one that must be given."""
    fields = schema.get("properties", {})
    return ", ".join(
        f"{name}={field['default']}" if "default" in field else name for name, field in fields.items()
    )
