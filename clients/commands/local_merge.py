"""`polymerge merge`: a merge on this machine, without a service."""

import gc
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Never

import typer

from clients.commands.mergekit_options import MergekitCommand
from clients.commands.options import MERGE, examples
from clients.stack.start_error import StartError
from service.contracts.local_merge import LocalMerge

_NEEDED = ("torch", "safetensors")


def register(app: typer.Typer) -> None:
    app.command(cls=MergekitCommand, rich_help_panel=MERGE, epilog=_EXAMPLES)(merge)


_EXAMPLES = examples(
    "polymerge merge recipe.yaml merged",
    "polymerge merge recipe.yaml merged --dry-run",
    "polymerge merge recipe.yaml merged --seed 7 --device cpu --threads 4 --shard-size 2GB",
)


def merge(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="mergekit's YAML (or JSON); - reads standard input.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the merged model.")],
    seed: Annotated[int, typer.Option(help="For methods that draw random numbers.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="All cores when not given.", min=1)] = None,
    shard_size: Annotated[str, typer.Option(help="Of a file, at most: bytes, or 500MB, 5GB.")] = "5GB",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the merge would do.")] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Warn of unknown keys, not refuse them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the model that is in OUT.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show neither plan nor progress.")] = False,
) -> None:
    """Merge models of this machine or of the Hugging Face hub into a folder, as mergekit-yaml does.

    A recipe names local folders or hub ids; LoRA adapters too. OUT appears when it is whole. A merge that was
    interrupted goes on from the files it had finished when the same command is given again. mergekit-yaml's
    options are understood as well.
    """
    asked = {
        "recipe": recipe,
        "out": out,
        "seed": seed,
        "device": device,
        "shard_size": shard_size,
        "dry_run": dry_run,
        "lenient": lenient,
        "force": force,
        "quiet": quiet,
    }
    _become(LocalMerge.model_validate(asked | ({"threads": threads} if threads else {})))


def _become(options: LocalMerge) -> Never:
    """Turn this process into the merge, so that signals and exit code are its own. Raises StartError."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise StartError(
            f"merging on this machine needs {' and '.join(missing)}: pip install 'polymerge[workers]'"
        )
    # The threads of NumPy's BLAS would spin beside ours, with nothing to do.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # What is imported from here on makes hundreds of thousands of objects, and none of them is garbage.
    gc.disable()
    # By its name, since clients know nothing of torch; in this process, which has begun already.
    code = import_module("workers.local_merge.command").main(options)
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking torch apart would be a tenth of the time that a merge takes.
    os._exit(code)
