"""Merges: a recipe in, a job out."""

import shutil
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.contracts.job import Job, JobPage
from service.contracts.model import Model
from service.contracts.names import AliasName
from service.contracts.plan import PlanSummary
from service.contracts.recipe import MAX_DOCUMENTS, RecipeDocument
from service.errors import ProblemError, no_such_cursor
from service.parts import Parts, Wired
from service.queue import UnknownJob
from service.recipes.accept import Accepted, accept
from service.recipes.digest import canonical
from service.recipes.parse import MAX_RECIPE_BYTES
from service.routes.accepted import accepted

router = APIRouter(tags=["merges"])

_AT = "#/paths/~1merges/post/requestBody/content/application~1json/schema"
_RECIPE = RecipeDocument.model_json_schema(ref_template=_AT + "/$defs/{model}")
_RECIPE_BODY = {
    "requestBody": {
        "required": True,
        "description": "A mergekit recipe, as YAML or JSON, naming registered models by id or alias; or a "
        "list of them (in YAML: several documents), all but the last with a `name` that others refer to.",
        "content": {
            # The body is read by hand, for YAML, so that its schema is not among the document's components.
            "application/json": {
                "schema": {
                    "$defs": _RECIPE.pop("$defs") | {"RecipeDocument": _RECIPE},
                    "anyOf": [
                        {"$ref": _AT + "/$defs/RecipeDocument"},
                        {
                            "type": "array",
                            "items": {"$ref": _AT + "/$defs/RecipeDocument"},
                            "minItems": 2,
                            "maxItems": MAX_DOCUMENTS,
                        },
                    ],
                }
            },
            "application/yaml": {"schema": {"$ref": _AT}},
        },
    }
}


@router.post(
    "/merges",
    status_code=202,
    response_model=None,
    openapi_extra=_RECIPE_BODY,
    responses={200: {"model": Model | PlanSummary}, 202: {"model": Job}},
)
async def submit_merge(
    request: Request,
    parts: Wired,
    name: Annotated[AliasName | None, Query(description="alias for the finished model")] = None,
    seed: Annotated[int, Query(ge=0, lt=2**63, description="for random methods")] = 0,
    dry_run: Annotated[bool, Query(description="only plan")] = False,
    lenient: Annotated[bool, Query(description="warn of unknown keys instead of refusing them")] = False,
) -> JSONResponse:
    """202 with the job; 200 with the model if this recipe has been built; 422 if it can't work."""
    text = await _read_body(request)
    return await run_in_threadpool(_submit, parts, text, name, seed, dry_run, lenient)


@router.get("/merges")
def list_merges(
    parts: Wired, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> JobPage:
    """Merge jobs, newest first."""
    try:
        jobs, following = parts.jobs.page("merge", cursor, limit)
    except UnknownJob:
        raise no_such_cursor(str(cursor)) from None
    return JobPage(items=jobs, next_cursor=following)


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_RECIPE_BYTES:
            raise ProblemError(413, "invalid-request", f"a recipe has at most {MAX_RECIPE_BYTES} bytes")
    return body


def _submit(
    parts: Parts, text: bytes, name: str | None, seed: int, dry_run: bool, lenient: bool
) -> JSONResponse:
    merge = accept(text, seed, parts.registry.resolve, parts.store, lenient=lenient)
    free = shutil.disk_usage(parts.store.root).free
    exists = parts.store.has(merge.model_id)
    if dry_run:
        return JSONResponse(_summarise(merge, exists, free).model_dump())
    if exists:
        parts.registry.add(parts.store.manifest(merge.model_id), [name] if name else [])
        model = parts.registry.get(merge.model_id)
        told = model.model_copy(update={"warnings": list(merge.recipe.warnings)})
        return JSONResponse(told.model_dump(mode="json"))
    needed = merge.plan.bytes_written
    if free < needed:
        raise ProblemError(
            507, "no-space", f"the result needs {needed} bytes; the store's disk has {free} free"
        )
    request = {"recipe": canonical(merge.recipe), "seed": seed}
    warnings = merge.recipe.warnings
    return accepted(parts.jobs.submit("merge", request, model=merge.model_id, name=name, warnings=warnings))


def _summarise(merge: Accepted, exists: bool, free: int) -> PlanSummary:
    plan = merge.plan
    return PlanSummary(
        model=merge.model_id,
        exists=exists,
        method=plan.method,
        sources=list(plan.sources),
        base=merge.recipe.base_model,
        donor=plan.stored_donor,
        intermediates=[str(document.name) for document in merge.recipe.intermediates],
        seed=merge.seed,
        tensors=len(plan.tasks),
        parameters=sum(task.numel for task in plan.tasks),
        bytes_read=plan.bytes_read,
        bytes_written=plan.bytes_written,
        bytes_free=free,
        warnings=list(merge.recipe.warnings),
    )
