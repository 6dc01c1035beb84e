"""An import job: copy or convert a source into staging, name it by its content, publish it."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from service.contracts.job import Job
from service.contracts.model import ImportRequest, Manifest
from service.recipes.refusal import refuse
from service.settings import Settings
from service.store import Store
from workers.importing.stage import Staged, stage_source
from workers.watch import Watch


def run_import(job: Job, store: Store, settings: Settings, watch: Watch) -> Manifest:
    """Make and publish the model of `job`. Raises Refused or JobCancelled."""
    request = ImportRequest.model_validate(job.request)
    base = store.manifest(request.base) if request.base else None
    staging = store.stage(job.staging)
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
    staged = stage_source(request, settings.sources_root, base, base_folder, staging, progress)
    manifest = _describe(request, base, staged)
    store.commit(staging, manifest)
    registered = store.manifest(manifest.id)
    if _labels(registered) != _labels(manifest):
        raise refuse(
            detail=f"registered already, as {registered.id}, with other labels: {_labels(registered)}"
        )
    return registered


def _labels(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(include={"languages", "objective", "license"})


def _describe(request: ImportRequest, base: Manifest | None, staged: Staged) -> Manifest:
    identity = f"import\0{base.id if base else ''}\0{staged.content_digest}"
    return Manifest(
        id="m_" + hashlib.sha256(identity.encode()).hexdigest()[:16],
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
