"""An import job: copy or convert a source into staging, name it by its content, publish it."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.contracts.job import Job
from service.contracts.model import ImportRequest, Manifest
from service.models.space import shortage
from service.models.store import Store
from service.recipes.refusal import refuse
from service.settings import Settings
from service.sources.files import import_id
from service.sources.inspect import import_bytes, inspect_source
from workers.importing.stage import Staged, stage_source
from workers.merging.model_folder import NoSpace
from workers.watch import Watch


def run_import(job: Job, staging: Path, store: Store, settings: Settings, watch: Watch) -> Manifest:
    """Make the model of `job` in `staging`, and publish it. Raises Refused, NoSpace or JobCancelled."""
    request = ImportRequest.model_validate(job.request)
    base = store.manifest(request.base) if request.base else None
    expected = 0
    finished = 0

    def progress(done: int, total: int) -> None:
        nonlocal expected, finished
        if total != expected:
            expected = total
            watch.expect(total)
        watch.check()
        watch.add(done - finished)
        finished = done

    base_folder = store.path(base.id) if base else None
    needed = import_bytes(request, inspect_source(request, settings.sources_root, base))
    if missing := shortage(store, settings, needed):
        raise NoSpace(missing)
    staged = stage_source(request, settings.sources_root, base, base_folder, staging, progress)
    manifest = _describe(request, base, staged)
    store.commit(staging, manifest, watch)
    registered = store.manifest(manifest.id)
    if _labels(registered) != _labels(manifest):
        raise refuse(
            detail=f"registered already, as {registered.id}, with other labels: {_labels(registered)}"
        )
    return registered


def _labels(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(include={"languages", "objective", "license"})


def _describe(request: ImportRequest, base: Manifest | None, staged: Staged) -> Manifest:
    return Manifest(
        id=import_id(staged.content_digest, base.id if base else None),
        kind="import",
        weights=staged.weights,
        languages=request.languages,
        objective=request.objective,
        license=request.license,
        base=base.id if base else None,
        content_digest=staged.content_digest,
        versions={"polymerge": version("polymerge")},
        files=staged.files,
        tensors=staged.tensors,
        size_bytes=sum(entry.size for entry in staged.files.values()),
        created_at=datetime.now(UTC),
    )
