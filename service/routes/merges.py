"""Merges: recipes in, jobs or virtual models out."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from service.access.scopes import MERGE, READ
from service.contracts.job import Job, JobPage, JobPriority
from service.contracts.merges import MergeList, MergeRequest, PlanList, Submitted, SubmittedList
from service.contracts.model import Model
from service.contracts.names import ALIAS_LENGTH, AliasName
from service.contracts.plan import PlanSummary
from service.contracts.recipe import MAX_DOCUMENTS, RecipeDocument
from service.errors import BodyTooLarge
from service.jobs.coming import ComingModels
from service.jobs.idempotency import IdempotencyKey, once
from service.jobs.merges import check_space, make
from service.models.space import free_bytes
from service.parts import Parts, Wired
from service.recipes.accept import Accepted
from service.recipes.parse import MAX_RECIPE_BYTES
from service.recipes.refusal import refuse
from service.recipes.submission import Submission, accept_all, read_submission
from service.routes.accepted import done_or_accepted
from service.routes.job_filter import Filtered, page_of
from service.routes.refusals import refusals

router = APIRouter(tags=["merges"])

_AT = "#/paths/~1merges/post/requestBody/content/application~1json/schema"
_Documents = Annotated[list[RecipeDocument], Field(min_length=2, max_length=MAX_DOCUMENTS)]
_BODY: TypeAdapter[Any] = TypeAdapter(MergeRequest | MergeList | _Documents)
_RECIPE_BODY = {
    "requestBody": {
        "required": True,
        "description": "A mergekit recipe, as YAML or JSON, naming registered models by id or alias; or a "
        "list of them (in YAML: several documents), all but the result's with a `name` that others refer to. "
        "With lists under `sweep` it stands for all their combinations; `recipes` takes several at once.",
        "content": {
            # The body is read by hand, for YAML, so that its schema is not among the document's components.
            "application/json": {"schema": _BODY.json_schema(ref_template=_AT + "/$defs/{model}")},
            "application/yaml": {"schema": {"$ref": _AT}},
        },
    }
}


@router.post(
    "/merges",
    status_code=202,
    response_model=None,
    openapi_extra=_RECIPE_BODY,
    responses=refusals(409, 429, 507)
    | {
        200: {"model": Model | PlanSummary | SubmittedList | PlanList},
        202: {"model": Job | SubmittedList},
    },
    dependencies=[MERGE],
)
async def submit_merge(
    request: Request,
    parts: Wired,
    idempotency_key: IdempotencyKey,
    name: Annotated[AliasName | None, Query(description="alias for the model")] = None,
    seed: Annotated[int, Query(ge=0, lt=2**63, description="for random methods")] = 0,
    dry_run: Annotated[bool, Query(description="only plan")] = False,
    lenient: Annotated[bool, Query(description="warn of unknown keys instead of refusing them")] = False,
    materialize: Annotated[
        bool | None, Query(description="false: register a virtual model; may stand in the body instead")
    ] = None,
    timeout: Annotated[
        float | None, Query(gt=0, le=30 * 86400, description="seconds that one attempt may take")
    ] = None,
) -> JSONResponse:
    """202 with the job; 200 with the model if it has been built, or is virtual; 422 if it can't work.

    Several recipes are all taken or all refused; 202 if any of them has a job.
    """
    text = await _read_body(request)
    asked = (text, name, seed, dry_run, lenient, materialize, timeout)
    return await run_in_threadpool(
        once, parts.redis, idempotency_key, ("/merges", *asked), lambda: _submit(parts, *asked)
    )


@router.get("/merges", dependencies=[READ])
def list_merges(
    parts: Wired,
    chosen: Filtered,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobPage:
    """Merge jobs, newest first."""
    return page_of(parts, chosen.model_copy(update={"kind": "merge"}), cursor, limit)


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_RECIPE_BYTES:
            raise BodyTooLarge(MAX_RECIPE_BYTES, "a recipe")
    return body


def _submit(
    parts: Parts,
    text: bytes,
    name: str | None,
    seed: int,
    dry_run: bool,
    lenient: bool,
    materialize: bool | None,
    timeout: float | None,
) -> JSONResponse:
    submission = read_submission(text)
    coming = ComingModels(parts.registry, parts.jobs)
    merges = accept_all(submission, seed, coming.resolve, parts.store, coming.plans, lenient)
    makers = [coming.makers(merge.recipe.references()) for merge in merges]
    if dry_run:
        plans = PlanList(items=[_summarise(parts, *planned) for planned in zip(merges, makers, strict=True)])
        return JSONResponse((plans.items[0] if submission.single else plans).model_dump())
    writing = submission.materialize if materialize is None else materialize
    if writing is not False:
        missing = {merge.model_id: merge.plan for merge in merges if not parts.store.sound(merge.model_id)}
        check_space(parts, sum(plan.bytes_written for plan in missing.values()))
        if not submission.single:
            parts.jobs.check_room(len(missing))
    names = [name] if submission.single else _numbered(name, len(merges))
    priority: JobPriority = "interactive" if submission.single else "sweep"
    results = [
        make(parts, merge, own_name, writing is not False, priority, timeout, waiting_for)
        for merge, own_name, waiting_for in zip(merges, names, makers, strict=True)
    ]
    if submission.single:
        return done_or_accepted(results[0])
    return _answer_all(submission, results, names)


def _numbered(name: str | None, count: int) -> list[str | None]:
    if name is None:
        return [None] * count
    names = [f"{name}-{number}" for number in range(1, count + 1)]
    longest = ALIAS_LENGTH - len(f"-{count}")
    if len(name) > longest:
        raise refuse("name", detail=f"a name for {count} models has at most {longest} letters")
    return [*names]


def _answer_all(submission: Submission, results: list[Job | Model], names: list[str | None]) -> JSONResponse:
    items = [
        Submitted(
            model=str(result.model) if isinstance(result, Job) else result.id,
            name=name,
            state="queued" if isinstance(result, Job) else "virtual" if result.virtual else "written",
            job=result.id if isinstance(result, Job) else None,
            varied=variant.varied,
            warnings=[variant.locate(warning) for warning in result.warnings],
        )
        for variant, result, name in zip(submission.variants, results, names, strict=True)
    ]
    queued = any(item.job for item in items)
    return JSONResponse(
        SubmittedList(items=items).model_dump(mode="json"), status_code=202 if queued else 200
    )


def _summarise(parts: Parts, merge: Accepted, waiting_for: Sequence[str]) -> PlanSummary:
    plan = merge.plan
    return PlanSummary(
        model=merge.model_id,
        exists=parts.store.has(merge.model_id),
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
        bytes_free=free_bytes(parts.store),
        waiting_for=list(waiting_for),
        warnings=list(merge.recipe.warnings),
    )
