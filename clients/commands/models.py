"""Commands about registered models."""

import os
from pathlib import Path
from typing import Annotated

import typer

from clients.commands.merging import NoWait
from clients.commands.options import DEFAULT_DATA, MERGE, AsJson, Sources, Url, examples
from clients.commands.output import finish, print_json, print_model, print_table, size, when
from clients.sdk.client import DEFAULT_URL, Polymerge
from clients.sources import describe_source, find_in_sources
from service.contracts.job import Job


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=MERGE, epilog=examples("polymerge models --language fr"))(models)
    app.command("import", rich_help_panel=MERGE, epilog=_IMPORT)(import_)
    app.command(rich_help_panel=MERGE, epilog=examples("polymerge materialize safer"))(materialize)


_IMPORT = examples(
    "polymerge import my-model --name base                      # a folder in the sources folder",
    "polymerge import base.gguf --name base --license apache-2.0",
    "polymerge import lora --base base --name safety --languages en,fr --objective safety",
    "polymerge import ~/checkpoints/my-model --copy             # put it into the sources folder first",
)


def models(
    language: Annotated[str | None, typer.Option(help="Only those labelled with it.")] = None,
    objective: Annotated[str | None, typer.Option(help="Only those labelled with it.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those tagged with it.")] = None,
    method: Annotated[str | None, typer.Option(help="Only merges by this method.")] = None,
    base: Annotated[str | None, typer.Option(help="Only those whose base it is: id or alias.")] = None,
    q: Annotated[str | None, typer.Option(help="Text in an alias, a label or the notes.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List registered models, newest first."""
    wanted = {"language": language, "objective": objective, "tag": tag, "method": method, "base": base}
    with Polymerge(url) as service:
        found = list(service.models.all(**wanted, q=q))
    if as_json:
        print_json(found)
    else:
        print_table(
            ("model", "aliases", "kind", "languages", "objective", "state", "size", "created"),
            [
                (
                    model.id,
                    ", ".join(model.aliases),
                    "adapter" if model.weights == "adapter" else model.kind,
                    ", ".join(model.languages),
                    model.objective or "",
                    model.state,
                    "virtual" if model.virtual else size(model.size_bytes),
                    when(model.created_at),
                )
                for model in found
            ],
        )


def import_(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Checkpoint folder, GGUF file or LoRA adapter folder.")
    ],
    name: Annotated[str | None, typer.Option(help="Alias for the model.")] = None,
    base: Annotated[str | None, typer.Option(help="For an adapter: the registered model under it.")] = None,
    languages: Annotated[str, typer.Option(help="Labels: language tags with commas between them.")] = "",
    objective: Annotated[str | None, typer.Option(help="Label: what the model was trained for.")] = None,
    license: Annotated[str | None, typer.Option(help="Label: such as apache-2.0.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Put PATH into the sources folder first.")] = False,
    sources: Sources = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Register a model that lies in the service's sources folder.

    PATH may be relative to that folder, or any path on this machine that leads into it.
    """
    root = (sources or Path(os.environ.get("POLYMERGE_DATA", DEFAULT_DATA)) / "sources").resolve()
    source = describe_source(find_in_sources(path, root, copy), root, base)
    tags = [tag.strip() for tag in languages.split(",") if tag.strip()]
    with Polymerge(url) as service:
        work = service.models.import_(
            source, name=name, base=base, languages=tags, objective=objective, license=license
        )
        if isinstance(work, Job) and no_wait:
            print_json(work) if as_json else print(work.id)
            return
        model = finish(service, work)
    print_json(model) if as_json else print_model(model)


def materialize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id or alias.")],
    no_wait: NoWait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Write a virtual model out, under its id."""
    with Polymerge(url) as service:
        work = service.models.materialize(model)
        if isinstance(work, Job) and no_wait:
            print_json(work) if as_json else print(work.id)
            return
        written = finish(service, work)
    print_json(written) if as_json else print_model(written)
