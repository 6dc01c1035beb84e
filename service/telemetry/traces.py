"""OpenTelemetry traces where OTEL_EXPORTER_OTLP_ENDPOINT is set; otherwise nothing of it is even imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.contracts.job import Job

if TYPE_CHECKING:
    from service.telemetry.otlp import Tracer

Attributes = dict[str, str | int | float]


def otlp_endpoint() -> str | None:
    """Base address of the collector, without /v1/traces."""
    return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def make_tracer(part: str) -> "Tracer | None":
    """For this part of the service; None where no endpoint is set. Raises ImportError without the SDK."""
    if otlp_endpoint() is None:
        return None
    try:
        from service.telemetry.otlp import Tracer
    except ImportError as error:
        advice = "OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs `pip install 'polymerge[tracing]'`"
        raise ImportError(advice) from error
    return Tracer(part)


@contextmanager
def traced_job(job: Job) -> Iterator[Attributes]:
    """One attempt at a job as a span of the trace of its request; the block adds to its attributes."""
    attributes: Attributes = {"polymerge.job": job.id, "polymerge.attempt": job.attempt}
    tracer = make_tracer("merge-worker")
    if tracer is None:
        yield attributes
        return
    span = tracer.begin(job.traceparent)
    try:
        yield attributes
    finally:
        span.end(job.kind, attributes, failed=attributes.get("polymerge.state") == "failed")
        # The process ends without asking anybody.
        tracer.close()
