"""Commands that keep the registry in order."""

from pathlib import Path
from typing import Annotated

import typer

from clients.commands.family_tree import family_tree
from clients.commands.merging import NoWait
from clients.commands.options import REGISTRY, AsJson, Url, examples
from clients.commands.output import print_json, print_model, print_table, size, wait, when
from clients.sdk.client import DEFAULT_URL, Polymerge

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Id or alias.")]


def register(app: typer.Typer) -> None:
    app.command(
        rich_help_panel=REGISTRY, epilog=examples("polymerge verify safer", "polymerge verify   # all models")
    )(verify)
    for command, example in (
        (lineage, "polymerge lineage safer"),
        (annotate, "polymerge annotate safer --notes 'best on French' --tags paper,v2"),
        (delete, "polymerge delete m_0123456789abcdef"),
        (restore, "polymerge restore m_0123456789abcdef"),
        (export, "polymerge export safer ./safer"),
        (push, "polymerge push safer my-team/safer --private"),
        (reindex, "polymerge reindex"),
        (gc, "polymerge gc --dry-run"),
    ):
        app.command(rich_help_panel=REGISTRY, epilog=examples(example))(command)
    app.command(rich_help_panel=REGISTRY, epilog=_ALIAS)(alias)


_ALIAS = examples(
    "polymerge alias best m_0123456789abcdef   # point it at the model",
    "polymerge alias best                      # where it has pointed",
    "polymerge alias best --delete",
)


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


def alias(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Id or alias.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias; the model stays.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Point an alias at a model, or show where it has pointed."""
    with Polymerge(url) as service:
        if delete:
            service.models.remove_alias(name)
        elif model:
            service.models.set_alias(name, model)
        moves = service.models.alias_history(name)
    if as_json:
        print_json(moves)
    else:
        print_table(("since", "model"), [(when(move.at), move.model or "(none)") for move in moves])


def annotate(
    model: ModelArgument,
    notes: Annotated[str | None, typer.Option(help="Any text, in place of what is there.")] = None,
    tags: Annotated[str | None, typer.Option(help="Labels with commas between them, all of them.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Change a model's notes and tags."""
    labels = None if tags is None else [tag.strip() for tag in tags.split(",") if tag.strip()]
    with Polymerge(url) as service:
        changed = service.models.annotate(model, notes=notes, tags=labels)
    print_json(changed) if as_json else print_model(changed)


def lineage(model: ModelArgument, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show what a model was made of, and what was made of it."""
    with Polymerge(url) as service:
        graph = service.models.lineage(model)
    if as_json:
        print_json(graph)
        return
    for title, sources in (("made of", True), ("made from it", False)):
        print(f"{title}:")
        for line in family_tree(graph, sources):
            print(f"  {line}")


def delete(
    model: ModelArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if something needs it.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Move a model to the trash; `polymerge gc` deletes it for good."""
    with Polymerge(url) as service:
        found = service.models.get(model)
        service.models.delete(found.id, force=force)
    print(f"{found.id} is in the trash: `polymerge restore {found.id}` brings it back")


def restore(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The id that the model had.")],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Bring a deleted model back from the trash."""
    with Polymerge(url) as service:
        found = service.models.restore(model)
    print_json(found) if as_json else print_model(found)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    older_than: Annotated[
        int, typer.Option(help="Seconds that a model has been in the trash.", min=0, metavar="SECONDS")
    ] = 0,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Delete for good what is in the trash, and work in staging that was abandoned."""
    with Polymerge(url) as service:
        found = service.store.collect_garbage(dry_run=dry_run, older_than=older_than)
    if as_json:
        print_json(found)
        return
    for item in found.items:
        print(f"{item.path}  {size(item.size_bytes)}")
    print(f"{'would free' if dry_run else 'freed'} {size(found.size_bytes)}")


def export(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New, empty, or of an export cut short.")],
    url: Url = DEFAULT_URL,
) -> None:
    """Bring a model's files into a folder that transformers, vLLM and mergekit load.

    Every file is compared with its digest. An adapter is exported as the PEFT adapter that it is.
    """
    with Polymerge(url) as service:
        manifest = service.models.export(model, folder)
    print(f"{manifest.id} is in {folder}, {size(manifest.size_bytes)}")


def push(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Made if there is none.")],
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is made, only its owner sees it.")
    ] = False,
    revision: Annotated[str, typer.Option(help="Branch; made if there is none.", metavar="BRANCH")] = "main",
    no_wait: NoWait = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Upload a model's files to the Hugging Face hub, as an export has them.

    A worker does it, with the token in its environment (HF_TOKEN); POLYMERGE_HUB_PUSH=1 allows it. Pushed
    again after it was cut short, it sends what the hub does not have.
    """
    with Polymerge(url) as service:
        job = service.models.push(model, repository, private=private, revision=revision)
        if not no_wait:
            job = wait(service, job)
    print_json(job) if as_json else print(job.url or job.id)
