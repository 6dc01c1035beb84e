"""The folder of a merged model: weights, config, tokenizer, recipe and model card, checked when all is there.

Jobs and merges without a service both end here. A folder that an earlier attempt at the same merge left
behind gives its finished shards.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch

from service.contracts.model import FileEntry
from service.contracts.recipe import Recipe
from service.recipes.digest import NUMERICS, canonical
from service.recipes.plan import Plan, TensorTask
from service.recipes.result_files import lay_out_files
from service.sources.checkpoint import inspect_checkpoint
from workers.merging.checkpoint import SHARD_BYTES, CheckpointWriter, Shard, shards_of, write_index
from workers.merging.engine import Destination, merge
from workers.merging.finished_shards import FinishedShard, forget_records, take_over
from workers.merging.model_card import Card, Ingredient
from workers.merging.recorder import Recorder
from workers.merging.weights import Weights

_RECIPE = "mergekit_config.yml"
_CARD = "README.md"
_BESIDE_WEIGHTS = 64 * 1024 * 1024
"""Room for tokenizer, config, card and the shards' headers."""
_THREADS_PER_READER = 4
"""So many threads that merge write more than one that hashes can read."""


class NoSpace(Exception):
    """The disk has too little room for the result."""


class NoDevice(Exception):
    """The device that is to compute is not there."""


class NotAsPlanned(Exception):
    """What was read back is not what was to be written: the disk or the engine is at fault."""


class Progress(Protocol):
    """Who watches: tensors and bytes of the result out, the wish to stop in. Called from several threads."""

    def expect(self, total: int) -> None: ...

    def begin(self, tensor: str) -> None: ...

    def add(self, count: int) -> None: ...

    def check(self) -> None:
        """Raises when the merge should stop."""
        ...


@dataclass(frozen=True)
class Merge:
    """All that the result follows from."""

    recipe: Recipe
    """Pinned to ids."""
    recipe_text: str
    """YAML, as people should see it."""
    plan: Plan
    ingredients: Sequence[Ingredient]
    folders: Mapping[str, Path]
    """Where config and tokenizer of each model are."""
    weights: Mapping[str, Weights]


@dataclass(frozen=True)
class Computer:
    device: str
    threads: int
    shard_bytes: int = SHARD_BYTES


def versions() -> dict[str, str]:
    """Of everything that decides the bytes of a result."""
    return {"polymerge": version("polymerge"), "torch": torch.__version__, "numerics": str(NUMERICS)}


def find_device(wanted: str) -> str:
    """`wanted`, where "auto" is the GPU if there is one. Raises NoDevice."""
    gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if gpu else "cpu"
    if wanted != "cpu" and not gpu:
        raise NoDevice(f"device '{wanted}': torch {torch.__version__} finds no CUDA GPU here; use cpu")
    return wanted


@dataclass(frozen=True)
class Written:
    """What is known of a model that has just been written."""

    files: Mapping[str, FileEntry]
    """Those that were hashed on the way."""
    remarks: Mapping[str, str]
    """What the method had to say about tensors, in their order; last what those of intermediates had."""


def write_model(folder: Path, what: Merge, computer: Computer, progress: Progress) -> Written:
    """Make the model in `folder`.

    Raises NoSpace before it writes, NotFinite, NotAsPlanned, OSError, and whatever `progress.check` raises.
    """
    shards = shards_of(what.plan.tasks, computer.shard_bytes)
    metadata = _metadata(what, computer.device)
    finished = take_over(folder, shards, metadata, progress.check)
    missing = [shard for shard in shards if shard.name not in finished]
    check_space(folder, sum(shard.nbytes for shard in missing))
    progress.expect(what.plan.bytes_written)
    progress.add(what.plan.bytes_written - sum(shard.nbytes for shard in missing))
    remarks = {name: text for shard in finished.values() for name, text in shard.remarks.items()}
    finished |= _write_weights(folder, missing, metadata, what, computer, progress, remarks)
    remarks = {task.name: remarks[task.name] for task in what.plan.tasks if task.name in remarks} | remarks
    write_index(folder, shards)
    lay_out_files(what.plan, what.folders.__getitem__, folder, shutil.copyfile)
    (folder / _RECIPE).write_text(what.recipe_text)
    (folder / _CARD).write_text(_card(what, computer.device, remarks).text())
    forget_records(folder)
    _check(folder, what.plan)
    return Written({name: shard.file for name, shard in finished.items()}, remarks)


def check_space(folder: Path, needed: int) -> None:
    """Raises NoSpace, with numbers."""
    needed += _BESIDE_WEIGHTS
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(
            f"{folder}: the merge needs {needed / 1e9:.2f} GB more, the disk has {free / 1e9:.2f} GB free"
        )


def _metadata(what: Merge, device: str) -> dict[str, str]:
    """For the header of every shard."""
    values = {
        "recipe": json.dumps(canonical(what.recipe), sort_keys=True),
        "sources": json.dumps({item.id: item.digest for item in what.ingredients}, sort_keys=True),
        "seed": str(what.plan.seed),
        "device": torch.device(device).type,
        "versions": json.dumps(versions(), sort_keys=True),
    }
    return {f"polymerge_{name}": value for name, value in values.items()}


def _write_weights(
    folder: Path,
    shards: Sequence[Shard],
    metadata: Mapping[str, str],
    what: Merge,
    computer: Computer,
    progress: Progress,
    remarks: dict[str, str],
) -> dict[str, FinishedShard]:
    """Merge what `shards` hold; each but the last goes on record as it is finished. Adds to `remarks`."""
    writer = CheckpointWriter(folder, shards, metadata)

    def allocate(task: TensorTask) -> Destination:
        progress.begin(task.name)
        return writer.allocate(task)

    results = merge(
        replace(what.plan, tasks=tuple(task for shard in shards for task in shard.tasks)),
        what.weights,
        allocate=allocate,
        threads=computer.threads,
        device=computer.device,
        between_tiles=progress.check,
        done=progress.add,
        remark=remarks.__setitem__,
    )
    reading = max(1, computer.threads // _THREADS_PER_READER)
    with Recorder(folder, shards[:-1], metadata, remarks, progress.check, reading) as recorder:
        for name, _ in results:
            recorder.finished(name)
    writer.close()
    return recorder.records


def _card(what: Merge, device: str, remarks: Mapping[str, str]) -> Card:
    return Card(
        method=what.plan.method,
        recipe=what.recipe_text,
        seed=what.plan.seed,
        ingredients=what.ingredients,
        versions=versions(),
        device=device,
        remarks=remarks,
    )


def _check(folder: Path, plan: Plan) -> None:
    """Every tensor of the plan is there in its shape and dtype, at full length."""
    try:
        found = inspect_checkpoint(folder, folder).tensors
    except ValueError as error:
        raise NotAsPlanned(f"the result can't be read back: {error}") from None
    wrong = sorted(name for name in plan.tensors.keys() | found if plan.tensors.get(name) != found.get(name))
    if wrong:
        raise NotAsPlanned(f"{len(wrong)} tensors are not as planned, the first is {wrong[0]}")
