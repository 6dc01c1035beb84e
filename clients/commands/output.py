"""What commands print: data on standard output, everything for people to watch on standard error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from clients.sdk.client import Polymerge
from service.contracts.job import Job
from service.contracts.model import Model
from service.contracts.problem import FieldProblem


class Warned(Protocol):
    """Whatever tells what was passed over in a recipe."""

    @property
    def warnings(self) -> Sequence[FieldProblem]: ...


_ANYTHING: TypeAdapter[object] = TypeAdapter(object)
_PIPE_WIDTH = 160


def notes() -> Console:
    return Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """A contract, or a list of them."""
    if isinstance(value, BaseModel):
        print(value.model_dump_json(indent=2))
    else:
        print(_ANYTHING.dump_json(value, indent=2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False) if rows else notes().print("(none)")


def print_model(model: Model) -> None:
    amount = "virtual" if model.virtual else size(model.size_bytes)
    print(f"{model.id}  {', '.join(model.aliases) or '(no alias)'}  {amount}")
    for tensor, remark in model.remarks.items():
        print(f"{tensor}: {remark}", file=sys.stderr)


def print_warnings(answer: Warned) -> None:
    """For people, whatever is printed as data."""
    for warning in answer.warnings:
        print(f"Warning: {warning.pointer}: {warning.detail}", file=sys.stderr)


def size(count: int) -> str:
    """1 kB is 1000 bytes."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def finish(service: Polymerge, work: Job | Model) -> Model:
    """Wait for the job's model with a progress bar. Ctrl-C leaves the job running and says so."""
    return work if isinstance(work, Model) else service.models.get(str(wait(service, work).model))


def wait(service: Polymerge, job: Job) -> Job:
    """The job once it has succeeded; as in finish()."""
    try:
        with _showing(job) as show:
            return service.jobs.wait(job.id, show)
    except KeyboardInterrupt:
        notes().print(f"{job.id} goes on: `polymerge watch {job.id}` or `polymerge cancel {job.id}`")
        raise


@contextmanager
def _showing(work: Job) -> Iterator[Callable[[Job], None]]:
    console = notes()
    if console.is_terminal:
        with _bar(console) as progress:
            task = progress.add_task(f"{work.kind} {work.id}", total=None, state=work.state, tensor="")
            yield lambda job: progress.update(
                task,
                state=_state(job),
                tensor=job.progress.tensor or "",
                completed=job.progress.bytes_done,
                total=job.progress.bytes_total or None,
            )
    else:
        yield _Lines()


def _state(job: Job) -> str:
    return f"waiting for {', '.join(job.waiting_for)}" if job.waiting_for else job.state


class _Lines:
    """Progress for a log file: a line for each change of state and each tenth of the bytes."""

    def __init__(self) -> None:
        self._told: tuple[str, int] | None = None

    def __call__(self, job: Job) -> None:
        done, total = job.progress.bytes_done, job.progress.bytes_total
        news = (job.state, 10 * done // total if total else 0)
        if news != self._told:
            self._told = news
            amount = f" {size(done)} of {size(total)}" if total else ""
            print(f"{job.kind} {job.id} {job.state}{amount}", file=sys.stderr, flush=True)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description} {task.fields[state]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[tensor]}"),
        console=console,
    )
