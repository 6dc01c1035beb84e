"""Commands about the engines that serve models."""

from typing import Annotated

import typer

from clients.commands.options import ASK, AsJson, Url, examples
from clients.commands.output import notes, print_json, print_table, size
from clients.sdk.client import DEFAULT_URL, Polymerge
from service.contracts.engine import Engine

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Id or alias.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=ASK, epilog=examples("polymerge engines", "polymerge engines --json"))(
        engines
    )
    app.command(rich_help_panel=ASK, epilog=examples("polymerge pin safer"))(pin)
    app.command(rich_help_panel=ASK, epilog=examples("polymerge unpin safer"))(unpin)


def engines(as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the engines and what each is doing, the models that requests wait for, and loads that failed."""
    with Polymerge(url) as service:
        found = service.serving()
    if as_json:
        print_json(found)
        return
    print_table(
        ("engine", "worker", "state", "model", "running", "memory", "start", "last swaps", "kept"),
        [
            (
                engine.id,
                engine.worker,
                engine.state,
                _models(engine),
                str(engine.leases),
                size(engine.memory_bytes),
                _seconds(engine.start_seconds),
                " ".join(map(_seconds, engine.swap_seconds[-3:])),
                _kept(engine),
            )
            for engine in found.items
        ],
    )
    for waiting in found.queue:
        notes().print(f"{waiting.requests} requests wait for {waiting.model}", markup=False)
    for failure in found.failures:
        notes().print(f"{failure.model} could not be loaded: {failure.reason}", markup=False)


def pin(model: ModelArgument, url: Url = DEFAULT_URL) -> None:
    """Load a model and keep it loaded: it is neither evicted nor unloaded."""
    with Polymerge(url) as service:
        print(f"{service.pin(model)} pinned")


def unpin(model: ModelArgument, url: Url = DEFAULT_URL) -> None:
    """Let a pinned model be evicted and unloaded again."""
    with Polymerge(url) as service:
        service.unpin(model)


def _models(engine: Engine) -> str:
    following = f" → {engine.next_model}" if engine.next_model else ""
    return f"{engine.model or ''}{following}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _kept(engine: Engine) -> str:
    """What the model's last request asked for."""
    if engine.pinned:
        return "pinned"
    if engine.keep_alive is None:
        return ""
    return "for ever" if engine.keep_alive < 0 else _seconds(engine.keep_alive)
