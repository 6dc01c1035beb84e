"""A merge job: plan again from the pinned recipe, stream the merge into staging, publish the model."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from service.contracts.job import Job
from service.contracts.model import FileEntry, Manifest
from service.contracts.recipe import Recipe
from service.models.intact import Damaged, check_sizes, check_whole
from service.models.small_files import sync
from service.models.space import shortage
from service.models.store import Store, folder_bytes
from service.recipes.digest import canonical, model_id
from service.recipes.labels import merged_labels
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan
from service.recipes.stored import plan_stored
from service.settings import Settings
from service.sources.files import content_digest, hash_file
from workers.merging.model_folder import Computer, NoSpace, find_device, versions, write_model
from workers.stored_merge import stored_merge
from workers.watch import Watch

log = logging.getLogger("polymerge.merge_job")


class LostSource(Exception):
    """A model that is to be merged is gone since the job was queued."""


def run_merge(job: Job, staging: Path, store: Store, settings: Settings, watch: Watch) -> Manifest:
    """Make the model of `job` in `staging`, and publish it; one that is there and sound is returned.

    A virtual model is thereby written, under its id. Raises Refused, LostSource, Damaged, JobCancelled,
    and what write_model raises.
    """
    recipe = validate_recipe(job.request["recipe"])
    seed = int(job.request["seed"])
    target = model_id(recipe, seed)
    if store.sound(target):
        return store.manifest(target)
    _check_sources(recipe, store, watch)
    manifests = {ref: store.manifest(ref) for ref in recipe.references()}
    plan = plan_stored(recipe, store, seed)
    if missing := shortage(store, settings, plan.bytes_written - folder_bytes(staging)):
        raise NoSpace(missing)
    log.info("%s of %d tensors, %d bytes", plan.method, len(plan.tasks), plan.bytes_written)
    computer = Computer(find_device(settings.device), settings.merge_threads, settings.shard_bytes)
    written = write_model(staging, stored_merge(recipe, plan, store), computer, watch)
    log.info("all tensors are written, on %s", computer.device)
    files = _digests(staging, written.files, watch)
    manifest = _describe(target, job, recipe, plan, manifests, files, computer.device, written.remarks)
    store.commit(staging, manifest, watch)
    return store.manifest(target)


def _check_sources(recipe: Recipe, store: Store, watch: Watch) -> None:
    try:
        for ref in recipe.references():
            check_whole(store, ref, check_sizes, watch)
    except Damaged:
        raise
    except ValueError as error:
        raise LostSource(str(error)) from None


def _digests(staging: Path, known: Mapping[str, FileEntry], watch: Watch) -> dict[str, FileEntry]:
    """Of every file; the disk takes them in meanwhile, so that the store need not wait for that."""
    paths = sorted(staging.iterdir())
    with ThreadPoolExecutor(1) as disk:
        synced = disk.map(sync, paths)
        found = {
            path.name: known.get(path.name) or hash_file(path, lambda _: watch.check()) for path in paths
        }
        # A disk tells of a lost write once, and only to whoever asks.
        list(synced)
    return found


def _describe(
    target: str,
    job: Job,
    recipe: Recipe,
    plan: Plan,
    manifests: Mapping[str, Manifest],
    files: dict[str, FileEntry],
    device: str,
    remarks: Mapping[str, str],
) -> Manifest:
    return Manifest(
        id=target,
        kind="merge",
        **merged_labels([manifests[source] for source in plan.sources]),
        sources=recipe.references(),
        recipe=canonical(recipe),
        warnings=job.warnings,
        seed=plan.seed,
        content_digest=content_digest(files),
        device=device,
        versions=versions(),
        remarks=dict(remarks),
        files=files,
        tensors=plan.tensors,
        size_bytes=sum(entry.size for entry in files.values()),
        created_at=datetime.now(UTC),
    )
