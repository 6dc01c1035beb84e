"""Accepted recipes become jobs or virtual models."""

from collections.abc import Sequence

from service.contracts.job import Job, JobPriority
from service.contracts.model import Model
from service.errors import ProblemError
from service.models.space import shortage
from service.models.virtual import register_virtual
from service.parts import Parts
from service.recipes.accept import Accepted
from service.recipes.digest import canonical
from service.recipes.dtypes import nbytes
from service.recipes.refusal import refuse


def check_space(parts: Parts, needed: int) -> None:
    """Raises ProblemError if `needed` bytes have no room in the store."""
    missing = shortage(parts.store, parts.settings, needed)
    if missing is not None:
        raise ProblemError(507, "no-space", missing)


def make(
    parts: Parts,
    merge: Accepted,
    name: str | None,
    materialize: bool,
    priority: JobPriority = "interactive",
    timeout: float | None = None,
    waiting_for: Sequence[str] = (),
) -> Job | Model:
    """The model, if it is there in a form that will do or can be virtual; else the job that writes it.

    `waiting_for` are the jobs that make its sources. Raises Refused for a virtual model that has any.
    """
    written = parts.store.sound(merge.model_id)
    if not written and materialize:
        request = {"recipe": canonical(merge.recipe), "seed": merge.seed}
        warnings = merge.recipe.warnings
        return parts.jobs.submit(
            "merge",
            request,
            model=merge.model_id,
            name=name,
            warnings=warnings,
            priority=priority,
            timeout=timeout or parts.settings.job_timeout_seconds,
            waiting_for=waiting_for,
        )
    if not written:
        if waiting_for:
            detail = f"a virtual model is made from models that are there: wait for {', '.join(waiting_for)}"
            raise refuse("materialize", detail=detail)
        register_virtual(parts.store, merge)
    parts.registry.add(parts.store.manifest(merge.model_id), [name] if name else [])
    model = parts.registry.get(merge.model_id)
    return model.model_copy(update={"warnings": list(merge.recipe.warnings)})


def materialize(parts: Parts, reference: str) -> Job | Model:
    """Have a merge that is virtual, or damaged, written under its id; one that is there is returned.

    Raises UnknownModel.
    """
    model = parts.registry.get(reference)
    manifest = parts.store.manifest(model.id)
    if manifest.recipe is None or parts.store.sound(model.id):
        return model
    check_space(parts, sum(nbytes(entry) for entry in manifest.tensors.values()))
    request = {"recipe": manifest.recipe, "seed": manifest.seed}
    return parts.jobs.submit(
        "merge",
        request,
        model=model.id,
        warnings=manifest.warnings,
        timeout=parts.settings.job_timeout_seconds,
    )
