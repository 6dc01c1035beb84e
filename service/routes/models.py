"""Models: import, list, show, annotate, delete, write out, verify."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from service.access.scopes import ADMIN, MERGE, READ
from service.contracts.job import Job
from service.contracts.lineage import Lineage
from service.contracts.model import (
    ImportRequest,
    Model,
    ModelChange,
    ModelKind,
    ModelPage,
    ModelState,
    Verification,
)
from service.contracts.names import ModelId
from service.errors import no_such_cursor
from service.jobs.idempotency import IdempotencyKey, once
from service.jobs.merges import check_space, materialize
from service.models.lineage import lineage
from service.models.registry import UnknownModel
from service.models.removal import remove
from service.models.search import Wanted
from service.models.verification import verify
from service.parts import Parts, Wired
from service.recipes.refusal import refuse
from service.routes.accepted import accepted, done_or_accepted
from service.routes.refusals import refusals
from service.sources.inspect import import_bytes, inspect_source

router = APIRouter(tags=["models"])


@router.post(
    "/models",
    dependencies=[MERGE],
    status_code=202,
    responses=refusals(409, 429, 507) | {202: {"model": Job}},
)
def import_model(request: ImportRequest, parts: Wired, idempotency_key: IdempotencyKey) -> JSONResponse:
    """Register a source under the sources root: 202 with the job, or 422 for one that can't be used."""
    asked = ("/models", request.model_dump_json())
    return once(parts.redis, idempotency_key, asked, lambda: _import(request, parts))


def _import(request: ImportRequest, parts: Parts) -> JSONResponse:
    _check_languages(request, parts)
    base = None
    if request.base is not None:
        try:
            base = parts.store.manifest(parts.registry.usable(request.base))
        except LookupError as error:
            raise refuse("base", detail=str(error)) from None
    files = inspect_source(request, parts.settings.sources_root, base)
    check_space(parts, import_bytes(request, files))
    pinned = request.model_copy(update={"base": base.id if base else None})
    return accepted(
        parts.jobs.submit(
            "import",
            pinned.model_dump(mode="json"),
            name=request.name,
            timeout=parts.settings.job_timeout_seconds,
        )
    )


@router.get("/models", dependencies=[READ])
def list_models(
    parts: Wired,
    cursor: Annotated[str | None, Query(description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    kind: ModelKind | None = None,
    language: str | None = None,
    objective: str | None = None,
    tag: str | None = None,
    method: Annotated[str | None, Query(description="merge method")] = None,
    base: Annotated[str | None, Query(description="base model, by id or alias")] = None,
    state: ModelState | None = None,
    q: Annotated[str | None, Query(description="text in an alias, a label or the notes")] = None,
) -> ModelPage:
    """Those that have all of it, newest first."""
    base_id = None if base is None else _known(parts, base)
    wanted = Wanted(kind, language, objective, tag, method, base_id, state, q)
    found = [model for model in parts.registry.models() if wanted.matches(model)]
    start = 0 if cursor is None else _after(cursor, found)
    page = found[start : start + limit]
    return ModelPage(items=page, next_cursor=page[-1].id if start + limit < len(found) else None)


@router.get("/models/{reference}", dependencies=[READ], responses=refusals(404))
def get_model(reference: str, parts: Wired) -> Model:
    """By id or alias."""
    return parts.registry.get(reference)


@router.patch("/models/{reference}", dependencies=[MERGE], responses=refusals(404))
def change_model(reference: str, change: ModelChange, parts: Wired) -> Model:
    """Change its notes and tags; nothing else of a model ever changes."""
    model_id = parts.registry.resolve(reference)
    parts.registry.annotate(model_id, change)
    return parts.registry.get(model_id)


@router.delete("/models/{reference}", dependencies=[ADMIN], status_code=204, responses=refusals(404, 409))
def delete_model(
    reference: str, parts: Wired, force: Annotated[bool, Query(description="even if it is in use")] = False
) -> None:
    """Move it to the trash; 409 when it has aliases, is served, or others are made from it."""
    remove(parts, parts.registry.resolve(reference), force)


@router.get("/models/{reference}/lineage", dependencies=[READ], responses=refusals(404))
def show_lineage(reference: str, parts: Wired) -> Lineage:
    """What it was made of and what was made of it, all the way up and down."""
    return lineage(parts.registry.models(), parts.registry.resolve(reference))


@router.post(
    "/models/{reference}/materialize",
    status_code=202,
    responses=refusals(404, 429, 507) | {200: {"model": Model}, 202: {"model": Job}},
    dependencies=[MERGE],
)
def materialize_model(reference: str, parts: Wired) -> JSONResponse:
    """Write a virtual model out, under its id: 202 with the job; 200 with the model if it is written."""
    return done_or_accepted(materialize(parts, reference))


@router.post("/models/{reference}/verify", dependencies=[MERGE], responses=refusals(404))
def verify_model(reference: str, parts: Wired) -> Verification:
    """Read all its files through: if one is not as it was, the model is out of service from now on.

    A damaged model whose files are found as they were is in service again.
    """
    return verify(parts.registry, parts.registry.resolve(reference))


@router.post("/models/{reference}/restore", dependencies=[ADMIN], responses=refusals(404))
def restore_model(reference: ModelId, parts: Wired) -> Model:
    """Bring a deleted model back from the trash, by its id; its aliases are not pointed at it again."""
    if not parts.store.restore(reference):
        raise UnknownModel(f"no model '{reference}' is registered or in the trash")
    parts.registry.add(parts.store.manifest(reference))
    return parts.registry.get(reference)


def _known(parts: Parts, base: str) -> str:
    try:
        return parts.registry.resolve(base)
    except UnknownModel as error:
        raise refuse("base", detail=str(error)) from None


def _after(cursor: str, models: list[Model]) -> int:
    place = next((i for i, model in enumerate(models) if model.id == cursor), None)
    if place is None:
        raise no_such_cursor(cursor)
    return place + 1


def _check_languages(request: ImportRequest, parts: Wired) -> None:
    for index, tag in enumerate(request.languages):
        try:
            parts.profiles.get(tag)
        except ValueError as error:
            raise refuse("languages", index, detail=str(error)) from None
