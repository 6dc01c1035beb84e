"""One local merge from the recipe's file to the folder of the result."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.filesize import decimal

from service.contracts.local_merge import LocalMerge
from service.contracts.problem import FieldProblem
from service.recipes.accept import Accepted, accept
from service.recipes.parse import parse_recipe
from service.recipes.refusal import Refused
from service.store import Store
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
    models = find_models(parse_recipe(text).references())
    out = OutFolder(options.out, options.force)
    out.check(model.folder for model in models.values())
    with TemporaryDirectory(prefix="polymerge-") as scratch:
        _show_plan(text, models, out, options, Path(scratch) / "planned")
        if options.dry_run:
            return
        with showing("reading sources") as progress:
            entries = digests({path.resolve() for path in files_of(models)}, progress, _import_torch)
        store = Store(Path(scratch) / "store")
        merge, ids = _accept(text, models, options.seed, store, lambda path: entries[path.resolve()])
        names = {ids[reference]: model.name for reference, model in models.items()}
        _merge(merge, store, names, text.decode(), out, options)
    print(f"{out.path}  {decimal(merge.plan.bytes_written)}  {time.monotonic() - began:.1f} s", flush=True)


def _read_recipe(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _show_plan(
    text: bytes, models: Mapping[str, LocalModel], out: OutFolder, options: LocalMerge, scratch: Path
) -> None:
    """With stamps in place of digests: what can't work is refused before gigabytes are read."""
    merge, ids = _accept(text, models, options.seed, Store(scratch), stamp)
    free = shutil.disk_usage(out.path.parent).free
    print(plan_text(merge, models, ids, options, free), file=sys.stdout if options.dry_run else sys.stderr)


def _accept(
    text: bytes, models: Mapping[str, LocalModel], seed: int, store: Store, entry: Entry
) -> tuple[Accepted, dict[str, str]]:
    """Also the ids of the models, by reference. What is refused is told in the recipe's own names."""
    ids = link_models(models, store, entry)
    try:
        return accept(text, seed, ids.__getitem__, store), ids
    except Refused as error:
        raise Refused([_in_names(problem, ids) for problem in error.problems]) from None


def _in_names(problem: FieldProblem, ids: Mapping[str, str]) -> FieldProblem:
    detail = problem.detail
    for reference, id_ in ids.items():
        detail = detail.replace(id_, f"'{reference}'")
    return problem.model_copy(update={"detail": detail})


def _import_torch() -> None:
    """What takes longest of all that a small merge does."""
    import torch  # noqa: F401


def _merge(
    merge: Accepted, store: Store, names: Mapping[str, str], text: str, out: OutFolder, options: LocalMerge
) -> None:
    # Not before a recipe that can't work has been refused.
    from workers.merging.engine import NotFinite
    from workers.merging.finished_shards import keep_finished
    from workers.merging.model_folder import Computer, NoSpace, NotAsPlanned, find_device, write_model
    from workers.stored_merge import stored_merge

    what = stored_merge(merge.recipe, merge.plan, store, names, text)
    computer = Computer(find_device(options.device), options.threads, options.shard_size)
    with out.staging() as folder:
        try:
            with showing(f"merging on {computer.device}") as progress:
                written = write_model(folder, what, computer, progress)
            out.publish()
        except BaseException as error:
            kept = keep_finished(folder)
            if kept:
                print(f"{kept} finished files are kept for the next try", file=sys.stderr)
            else:
                shutil.rmtree(folder)
            if isinstance(error, NoSpace | NotFinite | NotAsPlanned):
                raise Unusable(str(error)) from None
            raise
    for tensor, remark in written.remarks.items():
        print(f"{tensor}: {remark}", file=sys.stderr)
