"""A merge job: plan again from the pinned recipe, stream the merge into staging, publish the model."""

import json
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from service.contracts.job import Job
from service.contracts.model import Manifest
from service.contracts.recipe import Recipe
from service.recipes.digest import NUMERICS, canonical, model_id
from service.recipes.labels import merged_labels
from service.recipes.merged_config import merged_config
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan, make_plan
from service.settings import Settings
from service.sources.files import content_digest, hash_file
from service.store import Store
from workers.intact import check_intact
from workers.merging.checkpoint import CheckpointWriter, shards_of, write_index
from workers.merging.engine import merge
from workers.open_model import open_model
from workers.watch import Watch

_OWN_FILES = {"adapter_config.json", "README.md", "model.safetensors.index.json"}


class NoSpace(Exception):
    """The disk has too little room for the result."""


class DamagedSource(Exception):
    """A model that is to be merged has lost files, or parts of them, since it was registered."""


def run_merge(job: Job, store: Store, settings: Settings, watch: Watch) -> Manifest:
    """Make and publish the model of `job`; a model that is there already is returned as it is.

    Raises Refused, DamagedSource, NotFinite, NoSpace or JobCancelled; the caller discards staging then.
    """
    recipe = validate_recipe(job.request["recipe"])
    seed = int(job.request["seed"])
    target = model_id(recipe, seed)
    if store.has(target):
        return store.manifest(target)
    manifests = {ref: store.manifest(ref) for ref in recipe.references()}
    plan = make_plan(recipe, {ref: item.tensors for ref, item in manifests.items()}, seed)
    _check_sources(manifests, store)
    _check_space(store.root, plan)
    staging = store.stage(job.staging)
    device = _device(settings.device)
    remarks = _write_weights(plan, store, staging, settings, watch, device)
    _carry_files(manifests[plan.donor], store, staging, plan)
    manifest = _describe(target, recipe, seed, plan, manifests, staging, device, remarks)
    store.commit(staging, manifest)
    return store.manifest(target)


def _write_weights(
    plan: Plan, store: Store, staging: Path, settings: Settings, watch: Watch, device: str
) -> dict[str, str]:
    """Returns what the method had to say about tensors, in their order."""
    remarks: dict[str, str] = {}
    watch.expect(plan.bytes_written)
    shards = shards_of(plan.tasks)
    writer = CheckpointWriter(staging, shards, {"polymerge_method": plan.method})
    weights = {ref: open_model(store.path(ref)) for ref in plan.models}
    results = merge(
        plan,
        weights,
        allocate=writer.allocate,
        threads=settings.merge_threads,
        device=device,
        between_tiles=watch.check,
        done=watch.add,
        remark=remarks.__setitem__,
    )
    for _ in results:
        pass
    writer.close()
    write_index(staging, shards)
    return {task.name: remarks[task.name] for task in plan.tasks if task.name in remarks}


def _check_sources(manifests: dict[str, Manifest], store: Store) -> None:
    bases = {item.base: store.manifest(item.base) for item in manifests.values() if item.base}
    for ref, manifest in (manifests | bases).items():
        try:
            check_intact(manifest, store.path(ref))
        except ValueError as error:
            raise DamagedSource(str(error)) from None


def _check_space(root: Path, plan: Plan) -> None:
    free = shutil.disk_usage(root).free
    if free < plan.bytes_written * 1.05:
        raise NoSpace(f"the result needs {plan.bytes_written} bytes and the store's disk has {free} free")


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _carry_files(donor: Manifest, store: Store, staging: Path, plan: Plan) -> None:
    """Config and tokenizer of the donor; the config says what the weights are now."""
    for name in donor.files:
        if not name.endswith(".safetensors") and name not in _OWN_FILES:
            shutil.copyfile(store.path(donor.id) / name, staging / name)
    configs = {ref: json.loads((store.path(ref) / "config.json").read_text()) for ref in plan.configs}
    config = merged_config(configs, plan)
    (staging / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _describe(
    target: str,
    recipe: Recipe,
    seed: int,
    plan: Plan,
    manifests: dict[str, Manifest],
    staging: Path,
    device: str,
    remarks: dict[str, str],
) -> Manifest:
    files = {path.name: hash_file(path) for path in sorted(staging.iterdir())}
    return Manifest(
        id=target,
        kind="merge",
        **merged_labels([manifests[source] for source in plan.sources]),
        sources=recipe.references(),
        recipe=canonical(recipe),
        seed=seed,
        content_digest=content_digest(files),
        device=device,
        versions={"polymerge": version("polymerge"), "torch": torch.__version__, "numerics": str(NUMERICS)},
        remarks=remarks,
        files=files,
        tensors=plan.tensors,
        size_bytes=sum(entry.size for entry in files.values()),
        created_at=datetime.now(UTC),
    )
