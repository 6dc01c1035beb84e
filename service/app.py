"""The gateway: a FastAPI application without torch. `python -m service` runs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from service.access.audit import Audited, AuditLog
from service.access.authentication import Authentication
from service.access.key_ring import KeyRing
from service.access.limits import KeyLimits
from service.errors import install_error_handlers
from service.openapi import DescribedApi
from service.parts import make_parts
from service.requests.body_limit import BodyLimit
from service.requests.interruption import AnswerInterrupted, RunningRequests
from service.routes import ROUTERS
from service.settings import Settings
from service.telemetry.middleware import Observed
from service.telemetry.request_metrics import RequestMetrics
from service.telemetry.service_metrics import ServiceMetrics
from service.telemetry.traces import make_tracer

_LAST_ANSWERS_SECONDS = 3.0
"""How long interrupted requests have to send their answers when the service stops."""


def create_app(settings: Settings) -> FastAPI:
    """Raises BadKeyFile."""
    running = RunningRequests()
    keys = KeyRing(settings.keys_path)
    audit = AuditLog(settings.data / "audit.jsonl")
    tracer = make_tracer("gateway")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = make_parts(settings)
        app.state.parts = parts
        service_metrics = ServiceMetrics(parts.redis, parts.jobs, parts.store)
        app.state.metrics.registry.register(service_metrics)
        await run_in_threadpool(parts.registry.reindex)
        yield
        await running.finished(_LAST_ANSWERS_SECONDS)
        await parts.close()
        audit.close()
        if tracer:
            await run_in_threadpool(tracer.close)

    app = DescribedApi(
        title="Polymerge",
        version=version("polymerge"),
        summary="Merge fine-tuned language models and talk to the result in every language.",
        lifespan=lifespan,
    )
    # The last one added is the first to see a request.
    app.add_middleware(Audited, audit=audit)
    app.add_middleware(KeyLimits)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Authentication, settings=settings, keys=keys)
    app.add_middleware(AnswerInterrupted, running=running)
    app.state.metrics = RequestMetrics()
    app.add_middleware(Observed, metrics=app.state.metrics, tracer=tracer)
    install_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
