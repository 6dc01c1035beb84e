"""Commands that keep the registry in order."""

from typing import Annotated

import typer

from clients.commands.options import REGISTRY, AsJson, Url, examples
from clients.commands.output import print_json
from clients.sdk.client import DEFAULT_URL, Polymerge

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Id or alias.")]


def register(app: typer.Typer) -> None:
    app.command(
        rich_help_panel=REGISTRY, epilog=examples("polymerge verify safer", "polymerge verify   # all models")
    )(verify)
    app.command(rich_help_panel=REGISTRY, epilog=examples("polymerge reindex"))(reindex)


def verify(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Id or alias; every model when not given.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Read models through and compare them with their manifests: exit code 1 if any is damaged.

    A damaged model is out of service until its files are as they were, or it is imported or merged again.
    """
    with Polymerge(url) as service:
        names = [model] if model else [found.id for found in service.models.all()]
        done = []
        for name in names:
            found = service.models.verify(name)
            done.append(found)
            if not as_json:
                print(f"{found.model} {found.damage or 'is as it was'}", flush=True)
    if as_json:
        print_json(done)
    if any(found.state == "damaged" for found in done):
        raise typer.Exit(1)


def reindex(as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Rebuild from the store what Redis knows of models: after Redis has lost its data, say."""
    with Polymerge(url) as service:
        done = service.store.reindex()
    print_json(done) if as_json else print(f"{done.models} models, {done.aliases} aliases")
