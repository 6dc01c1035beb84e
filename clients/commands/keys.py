"""`polymerge keys`: API keys, on the machine that has the gateway's data folder."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from clients.commands.options import DEFAULT_DATA, GUARD, AsJson, Data, examples
from clients.commands.output import print_json, print_table, when
from clients.keys import create_key, read_keys, revoke_key
from service.contracts.access import SCOPES, ApiKey, Scope

keys = typer.Typer(
    help="API keys of the gateway whose data folder is on this machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_SCOPES: TypeAdapter[frozenset[Scope]] = TypeAdapter(frozenset[Scope])

File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="POLYMERGE_KEYS_FILE",
        help="File of keys; DATA/keys.json when not given.",
        dir_okay=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys", rich_help_panel=GUARD)


@keys.command(
    epilog=examples(
        "export POLYMERGE_API_KEY=$(polymerge keys create me --scopes admin)",
        "polymerge keys create harness --scopes read,generate --per-minute 600 --at-once 16",
        "polymerge keys create guest --scopes read --days 7",
    )
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what asks with it.")],
    scopes: Annotated[
        str, typer.Option(help=f"What it may do, with commas between: {', '.join(SCOPES)} (all of it).")
    ],
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute, at most.", min=1)] = None,
    at_once: Annotated[int | None, typer.Option(help="Requests at a time, at most.", min=1)] = None,
    days: Annotated[int | None, typer.Option(help="How long it is valid.", min=1, max=36500)] = None,
    data: Data = DEFAULT_DATA,
    file: File = None,
) -> None:
    """Make a key and print its secret, which is shown this once and kept nowhere."""
    key, secret = create_key(
        file or data / "keys.json",
        name,
        _SCOPES.validate_python([scope.strip() for scope in scopes.split(",")]),
        requests_per_minute=per_minute,
        concurrent_requests=at_once,
        lifetime=timedelta(days=days) if days else None,
    )
    print(secret)
    print(
        f"Key {key.id} '{name}' may {_scopes(key)}. Clients take it from POLYMERGE_API_KEY.", file=sys.stderr
    )


@keys.command("list", epilog=examples("polymerge keys list"))
def list_keys(as_json: AsJson = False, data: Data = DEFAULT_DATA, file: File = None) -> None:
    """Show every key there ever was, without secrets."""
    found = read_keys(file or data / "keys.json")
    if as_json:
        print_json([key.model_dump(mode="json", exclude={"sha256"}) for key in found])
        return
    rows = [
        (
            key.id,
            key.name,
            _scopes(key),
            str(key.requests_per_minute or ""),
            str(key.concurrent_requests or ""),
            when(key.created_at),
            _state(key),
        )
        for key in found
    ]
    print_table(("id", "name", "scopes", "a minute", "at once", "made", "state"), rows)


@keys.command(epilog=examples("polymerge keys revoke harness"))
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id or name.")],
    data: Data = DEFAULT_DATA,
    file: File = None,
) -> None:
    """End a key: within a second the gateway refuses it."""
    found = revoke_key(file or data / "keys.json", key)
    print(f"{found.id} '{found.name}' is revoked")


def _scopes(key: ApiKey) -> str:
    return ", ".join(scope for scope in SCOPES if scope in key.scopes)


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {when(key.revoked_at)}"
    if not key.valid(datetime.now(UTC)):
        return "expired"
    return f"until {when(key.expires_at)}" if key.expires_at else "valid"
