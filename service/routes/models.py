"""Models and aliases: import, list, show, write out, verify, point at."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from service.contracts.job import Job
from service.contracts.model import Alias, AliasTarget, ImportRequest, Model, ModelPage, Verification
from service.contracts.names import AliasName
from service.errors import no_such_cursor
from service.merges import materialize
from service.parts import Wired
from service.recipes.refusal import refuse
from service.registry import UnknownModel
from service.routes.accepted import accepted, done_or_accepted
from service.sources.inspect import inspect_source
from service.verification import verify

router = APIRouter(tags=["models"])


@router.post("/models", status_code=202, responses={202: {"model": Job}})
def import_model(request: ImportRequest, parts: Wired) -> JSONResponse:
    """Register a source under the sources root: 202 with the job, or 422 for one that can't be used."""
    _check_languages(request, parts)
    base = None
    if request.base is not None:
        try:
            base = parts.store.manifest(parts.registry.usable(request.base))
        except LookupError as error:
            raise refuse("base", detail=str(error)) from None
    inspect_source(request, parts.settings.sources_root, base)
    pinned = request.model_copy(update={"base": base.id if base else None})
    return accepted(parts.jobs.submit("import", pinned.model_dump(mode="json"), name=request.name))


@router.get("/models")
def list_models(
    parts: Wired,
    cursor: Annotated[str | None, Query(description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    language: str | None = None,
    objective: str | None = None,
) -> ModelPage:
    """Newest first."""
    found = [
        model
        for model in parts.registry.models()
        if (language is None or language in model.languages)
        and (objective is None or objective == model.objective)
    ]
    start = 0 if cursor is None else _after(cursor, found)
    page = found[start : start + limit]
    return ModelPage(items=page, next_cursor=page[-1].id if start + limit < len(found) else None)


@router.get("/models/{reference}")
def get_model(reference: str, parts: Wired) -> Model:
    """By id or alias."""
    return parts.registry.get(reference)


@router.post(
    "/models/{reference}/materialize",
    status_code=202,
    responses={200: {"model": Model}, 202: {"model": Job}},
)
def materialize_model(reference: str, parts: Wired) -> JSONResponse:
    """Write a virtual model out, under its id: 202 with the job; 200 with the model if it is written."""
    return done_or_accepted(materialize(parts, reference))


@router.post("/models/{reference}/verify")
def verify_model(reference: str, parts: Wired) -> Verification:
    """Read all its files through: if one is not as it was, the model is out of service from now on.

    A damaged model whose files are found as they were is in service again.
    """
    return verify(parts.registry, parts.registry.resolve(reference))


@router.put("/aliases/{name}")
def put_alias(name: AliasName, target: AliasTarget, parts: Wired) -> Alias:
    """Point an alias at a model; requests already accepted keep the model they resolved to."""
    try:
        model = parts.registry.resolve(target.model)
    except UnknownModel as error:
        raise refuse("model", detail=str(error)) from None
    parts.registry.set_alias(name, model)
    return Alias(name=name, model=model)


@router.get("/aliases")
def list_aliases(parts: Wired) -> list[Alias]:
    return [Alias(name=name, model=model) for name, model in sorted(parts.registry.aliases().items())]


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
