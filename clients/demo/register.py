"""Registers the demo's models: the base, the experts and the two merges; skips what is there already."""

import filecmp
import shutil
from pathlib import Path

from clients.demo.assets import BASE, LICENSE, MERGES, Assets, Expert
from clients.demo.steps import Step
from clients.sdk.client import Polymerge
from clients.sdk.errors import ProblemError
from clients.sources import place
from service.contracts.job import Job
from service.contracts.model import ImportSource, Model

_FOLDER = "demo"


def register_base(service: Polymerge, sources: Path, assets: Assets, step: Step) -> None:
    if _exists(service, BASE):
        step.note = "is there already"
        return
    file = place(assets.base(), sources / _FOLDER)
    source = ImportSource(gguf=file.relative_to(sources).as_posix())
    work = service.models.import_(source, name=BASE, license=LICENSE)
    model = service.finish(work, lambda job: _show(job, step))
    step.note = f"{model.id}, {model.size_bytes / 1e6:.0f} MB"


def register_expert(service: Polymerge, sources: Path, assets: Assets, expert: Expert) -> bool:
    """Whether it was new, or other than the one registered under its name."""
    new = _copy_if_other(assets.expert(expert.alias), sources / _FOLDER / expert.alias)
    if not new and _exists(service, expert.alias):
        return False
    source = ImportSource(adapter=f"{_FOLDER}/{expert.alias}")
    work = service.models.import_(
        source,
        name=expert.alias,
        base=BASE,
        languages=expert.languages,
        objective=expert.objective,
        license=LICENSE,
    )
    service.finish(work)
    return True


def submit_merges(service: Polymerge, assets: Assets) -> dict[str, Job | Model]:
    """A recipe that was built before gives its model at once."""
    return {alias: service.merges.submit(assets.recipe(alias), alias) for alias in MERGES}


def await_merge(service: Polymerge, work: Job | Model, step: Step) -> None:
    built = isinstance(work, Job)
    model = service.finish(work, lambda job: _show(job, step))
    step.note = f"{model.id}, {model.size_bytes / 1e6:.0f} MB" if built else f"{model.id} is there already"


def _exists(service: Polymerge, alias: str) -> bool:
    try:
        service.models.get(alias)
    except ProblemError as error:
        if error.problem.status == 404:
            return False
        raise
    return True


def _copy_if_other(folder: Path, target: Path) -> bool:
    """Copy the files of the adapter; False when all are there already, byte for byte."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if target.is_dir() and filecmp.cmpfiles(folder, target, names, shallow=False)[0] == names:
        return False
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return True


def _show(job: Job, step: Step) -> None:
    progress = job.progress
    bytes_ = (
        f" {progress.bytes_done / 1e6:.0f} of {progress.bytes_total / 1e6:.0f} MB"
        if progress.bytes_total
        else ""
    )
    step.note = f"{job.state}{bytes_}"
