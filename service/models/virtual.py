"""Virtual models: merges that are registered as planned, and computed whenever an engine loads them."""

import os
import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from service.contracts.model import FileEntry, Manifest
from service.models.store import Store
from service.recipes.accept import Accepted
from service.recipes.digest import NUMERICS, canonical
from service.recipes.labels import merged_labels
from service.recipes.result_files import lay_out_files
from service.sources.files import hash_file


def register_virtual(store: Store, merge: Accepted) -> Manifest:
    """The model of `merge` with all that an engine needs to start but weights; one that is there is kept."""
    if not store.has(merge.model_id):
        staging = store.stage(f"{merge.model_id}-{secrets.token_hex(4)}")
        try:
            donor = store.manifest(merge.plan.stored_donor)
            shared = lay_out_files(merge.plan, store.path, staging, _link_or_copy)
            files = {
                path.name: donor.files[path.name] if path.name in shared else hash_file(path)
                for path in staging.iterdir()
            }
            store.commit(staging, _describe(store, merge, files))
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return store.manifest(merge.model_id)


def _describe(store: Store, merge: Accepted, files: dict[str, FileEntry]) -> Manifest:
    return Manifest(
        id=merge.model_id,
        kind="merge",
        virtual=True,
        **merged_labels([store.manifest(source) for source in merge.plan.sources]),
        sources=merge.recipe.references(),
        recipe=canonical(merge.recipe),
        warnings=list(merge.recipe.warnings),
        seed=merge.seed,
        content_digest=None,
        versions={"polymerge": version("polymerge"), "numerics": str(NUMERICS)},
        files=files,
        tensors=merge.plan.tensors,
        size_bytes=sum(entry.size for entry in files.values()),
        created_at=datetime.now(UTC),
    )


def _link_or_copy(source: Path, target: Path) -> None:
    """Files of the store never change, so that models may share them."""
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
