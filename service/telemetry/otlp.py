"""Spans, sent to a collector by OTLP over HTTP. Imported only where traces are wanted: see traces.py."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OpenTelemetrySpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.traces import Attributes

_W3C = TraceContextTextMapPropagator()
_CLOSE_MILLISECONDS = 3000
"""What a collector that is away may cost a job's process at its end."""


class Tracer:
    """Reads the OTEL_… variables as every SDK of OpenTelemetry does."""

    def __init__(self, part: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": f"polymerge-{part}"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("polymerge")

    def begin(self, parent: str | None) -> "Span":
        """A span that begins now, below the `traceparent` of another."""
        context = _W3C.extract({"traceparent": parent} if parent else {})
        return Span(self._tracer.start_span("request", context, SpanKind.SERVER))

    def close(self) -> None:
        """Send what is left."""
        self._provider.force_flush(_CLOSE_MILLISECONDS)
        self._provider.shutdown()


class Span:
    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span))
        self.traceparent = carrier["traceparent"]

    def end(self, name: str, attributes: Attributes, failed: bool) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
