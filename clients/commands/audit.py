"""`polymerge audit`: who did what, on the machine that has the gateway's data folder."""

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from clients.commands.options import DEFAULT_DATA, GUARD, Data, examples
from clients.commands.output import print_table
from service.contracts.access import AuditEntry

_NAME = "audit.jsonl"


def register(app: typer.Typer) -> None:
    app.command(
        rich_help_panel=GUARD,
        epilog=examples("polymerge audit", "polymerge audit --key harness --last 1000 --json"),
    )(audit)


def audit(
    last: Annotated[int, typer.Option(help="How many of the newest to show.", min=1)] = 50,
    key: Annotated[str | None, typer.Option(help="Only what this key did: its id or name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show the requests that changed something, or were not allowed to; the newest last."""
    found = deque(
        (entry for entry in _entries(data) if key is None or key in (entry.key_id, entry.key_name)), last
    )
    if as_json:
        for entry in found:
            print(entry.model_dump_json())
        return
    rows = [
        (
            entry.time.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            f"{entry.key_name} {entry.key_id}" if entry.key_id else "(no key)",
            entry.address or "",
            f"{entry.method} {entry.path}",
            str(entry.status or "interrupted"),
            " ".join(entry.concerns),
        )
        for entry in found
    ]
    print_table(("time", "key", "from", "request", "status", "concerns"), rows)


def _entries(data: Path) -> Iterator[AuditEntry]:
    """Oldest first. A line that was cut short by a crash is passed over, and told of."""
    older = sorted(data.glob(f"{_NAME}.*"), key=lambda file: int(file.suffix[1:]), reverse=True)
    for file in [*older, data / _NAME]:
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield AuditEntry.model_validate_json(line)
                except ValidationError:
                    print(f"{file}, line {number}: not an entry", file=sys.stderr)
