"""One local merge from the recipe's file to the folder of the result."""

import gc
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.filesize import decimal

from service.contracts.local_merge import LocalMerge
from service.contracts.problem import FieldProblem
from service.contracts.recipe import Recipe
from service.models.store import Store
from service.recipes.accept import Accepted, accept
from service.recipes.document import load_document
from service.recipes.parse import validate_recipe
from service.recipes.refusal import Refused
from workers.local_merge.digests import digests, stamp
from workers.local_merge.display import showing
from workers.local_merge.linked_store import Entry, files_of, link_models
from workers.local_merge.local_models import LocalModel, find_models
from workers.local_merge.out_folder import OutFolder
from workers.local_merge.plan_text import plan_text
from workers.local_merge.unusable import Unusable


def run(options: LocalMerge) -> None:
    """Raises Unusable, Refused, OSError."""
    began = time.monotonic()
    text = _read_recipe(options.recipe)
    document = load_document(text)
    recipe = validate_recipe(document, lenient=options.lenient)
    models = find_models(recipe)
    out = OutFolder(options.out, options.force)
    out.check(model.folder for model in models.values())
    with TemporaryDirectory(prefix="polymerge-") as scratch:
        _show_plan(document, recipe, models, out, options, Path(scratch) / "planned")
        if options.dry_run:
            return
        with showing("reading sources", options.quiet) as progress:
            files = {path.resolve() for path in files_of(models)}
            entries = digests(files, progress, partial(_find_device, options.device))
        store = Store(Path(scratch) / "store")
        merge, ids = _accept(document, models, options, store, lambda path: entries[path.resolve()])
        _merge(merge, store, _names(models, ids, store), text.decode(), out, options)
    print(f"{out.path}  {decimal(merge.plan.bytes_written)}  {time.monotonic() - began:.1f} s", flush=True)


def _read_recipe(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _show_plan(
    document: Any,
    recipe: Recipe,
    models: Mapping[str, LocalModel],
    out: OutFolder,
    options: LocalMerge,
    scratch: Path,
) -> None:
    """With stamps in place of digests: what can't work is refused before gigabytes are read."""
    merge, ids = _accept(document, models, options, Store(scratch), stamp)
    for warning in merge.recipe.warnings:
        print(f"Warning: {warning.pointer}: {warning.detail}", file=sys.stderr)
    if options.dry_run or not options.quiet:
        free = shutil.disk_usage(out.above).free
        text = plan_text(recipe, merge, ids, options, free)
        print(text, file=sys.stdout if options.dry_run else sys.stderr)


def _accept(
    document: Any, models: Mapping[str, LocalModel], options: LocalMerge, store: Store, entry: Entry
) -> tuple[Accepted, dict[str, str]]:
    """Also the ids of the models, by reference. What is refused is told in the recipe's own names."""
    ids = link_models(models, store, entry)
    try:
        return accept(document, options.seed, ids.__getitem__, store, lenient=options.lenient), ids
    except Refused as error:
        raise Refused([_in_names(problem, ids) for problem in error.problems]) from None


def _in_names(problem: FieldProblem, ids: Mapping[str, str]) -> FieldProblem:
    detail = problem.detail
    for reference, id_ in ids.items():
        detail = detail.replace(id_, f"'{reference}'")
    return problem.model_copy(update={"detail": detail})


def _names(models: Mapping[str, LocalModel], ids: Mapping[str, str], store: Store) -> dict[str, str]:
    """What people call the models, and the bases of adapters, by id."""
    names: dict[str, str] = {}
    for reference, found in models.items():
        id_: str | None = ids[reference]
        model: LocalModel | None = found
        while id_ and model:
            names[id_] = model.name
            id_, model = store.manifest(id_).base, model.base
    return names


def _find_device(wanted: str) -> str:
    """Raises Unusable. Imports torch, which takes longest of all that a small merge does."""
    from workers.merging.model_folder import NoDevice, find_device

    # What is there now stays: no garbage to look for again and again.
    gc.freeze()
    gc.enable()
    try:
        return find_device(wanted)
    except NoDevice as error:
        raise Unusable(str(error)) from None


def _merge(
    merge: Accepted, store: Store, names: Mapping[str, str], text: str, out: OutFolder, options: LocalMerge
) -> None:
    # Not before a recipe that can't work has been refused.
    from workers.merging.engine import NotFinite
    from workers.merging.model_folder import Computer, NoSpace, NotAsPlanned, write_model
    from workers.stored_merge import stored_merge

    what = stored_merge(merge.recipe, merge.plan, store, names, text)
    try:
        computer = Computer(_find_device(options.device), options.threads, options.shard_size)
        with out.staging() as folder, _keeping_finished(folder):
            with showing(f"merging on {computer.device}", options.quiet) as progress:
                written = write_model(folder, what, computer, progress)
            out.publish()
    except (NoSpace, NotAsPlanned, NotFinite) as error:
        raise Unusable(str(error)) from None
    for tensor, remark in written.remarks.items():
        print(f"{tensor}: {remark}", file=sys.stderr)


@contextmanager
def _keeping_finished(folder: Path) -> Iterator[None]:
    """When the merge breaks off, nothing of it stays but finished files, for the next try."""
    from workers.merging.finished_shards import keep_finished

    try:
        yield
    except BaseException:
        kept = keep_finished(folder)
        if kept:
            print(f"{kept} finished files are kept in {folder} for the next try", file=sys.stderr)
        else:
            folder.rmdir()
        raise
