"""Commands that run the service: all of it, or one part."""

import os
import sys
from pathlib import Path
from typing import Never

import typer

from clients.commands.options import DEFAULT_DATA, RUN, Data, Host, Port, RedisUrl, Sources, examples
from clients.commands.up import run_up
from clients.stack.stack import GATEWAY, MERGE_WORKER, SERVE_WORKER, Stack

_REDIS = "redis://127.0.0.1:6379/0"

worker = typer.Typer(
    help="One worker, for a service whose parts run on their own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN, epilog=_UP)(up)
    app.command(rich_help_panel=RUN, epilog=_SERVE)(serve)
    app.add_typer(worker, name="worker", rich_help_panel=RUN)


_UP = examples(
    "polymerge up",
    "polymerge up --data /srv/polymerge --sources /srv/checkpoints --host 0.0.0.0 --port 8080",
    "REDIS_URL=redis://10.0.0.5:6379/0 polymerge up   # that Redis instead of one of its own",
)
_SERVE = examples("polymerge serve --redis redis://10.0.0.5:6379/0 --host 0.0.0.0")
_WORKER = "polymerge worker {} --data /shared/polymerge --redis redis://10.0.0.5:6379/0"


def up(
    data: Data = DEFAULT_DATA, host: Host = "127.0.0.1", port: Port = 8000, sources: Sources = None
) -> None:
    """Start everything on this machine: Redis, gateway, merge worker, serve worker.

    Ctrl-C stops all of it. A part that dies is restarted. Models, jobs and logs stay in the data folder.
    """
    run_up(Stack(data, host, port, sources))


def serve(
    data: Data = DEFAULT_DATA,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    sources: Sources = None,
    redis: RedisUrl = _REDIS,
) -> None:
    """Run the gateway only: the REST API, without workers."""
    _become(GATEWAY.command, data, sources, redis, {"POLYMERGE_HOST": host, "POLYMERGE_PORT": str(port)})


@worker.command(epilog=examples(_WORKER.format("merge")))
def merge(data: Data = DEFAULT_DATA, sources: Sources = None, redis: RedisUrl = _REDIS) -> None:
    """Run a merge worker: it takes merges and imports from the queue."""
    _become(MERGE_WORKER.command, data, sources, redis, {})


@worker.command(epilog=examples(_WORKER.format("engine")))
def engine(data: Data = DEFAULT_DATA, sources: Sources = None, redis: RedisUrl = _REDIS) -> None:
    """Run a serve worker: it starts a vLLM engine and loads the models that are asked for."""
    _become(SERVE_WORKER.command, data, sources, redis, {})


def _become(
    command: tuple[str, ...], data: Path, sources: Path | None, redis: str, more: dict[str, str]
) -> Never:
    """Turn this process into the part, so that signals and exit codes are the part's own."""
    environment = {**os.environ, "POLYMERGE_DATA": str(data.resolve()), "REDIS_URL": redis, **more}
    if sources:
        environment["POLYMERGE_SOURCES"] = str(sources.resolve())
    sys.stdout.flush()
    os.execve(command[0], command, environment)
