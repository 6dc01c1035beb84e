"""Traces through gateway, queue and worker, and to the servers that are asked, as a collector gets them."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import MergeSite, until
from tests.service.answering.test_judges import judges_file

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
RECIPE = {"merge_method": "linear", "models": [{"model": "quick-1", "parameters": {"weight": 0.5}}]}
CHAT = {"model": "judge/strict", "messages": [{"role": "user", "content": "A secret"}]}


class Collector:
    """Keeps the spans that come in by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[dict[str, str]] = []
        collector = self

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                collector.add(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self._serving = Thread(target=self._server.serve_forever)
        self._serving.start()
        self.settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def add(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            (part,) = [item.value for item in resource.resource.attributes if item.key == "service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {item.key: item.value.string_value for item in span.attributes}
                    ids = {"id": span.span_id, "parent": span.parent_span_id, "trace": span.trace_id}
                    ours = {name: value.hex() for name, value in ids.items()}
                    self.spans.append({"part": part.string_value, "name": span.name, **ours, **attributes})

    def trace(self, count: int) -> list[dict[str, str]]:
        """The spans of our trace, once there are so many of them."""
        until(lambda: len([span for span in self.spans if span["trace"] == TRACE]) >= count)
        return [span for span in self.spans if span["trace"] == TRACE]

    def close(self) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MergeSite]:
    site = MergeSite(tmp_path)
    yield site
    site.close()


def test_a_merge_is_one_trace_from_the_client_s_span_to_the_worker_s(
    site: MergeSite, collector: Collector
) -> None:
    site.start_worker(**collector.settings)
    with running_gateway(site.redis.url, site.data, **collector.settings) as (_, url):
        job = httpx2.post(f"{url}/merges", json=RECIPE, headers=HEADERS, trust_env=False).json()
        gateway, worker = sorted(collector.trace(2), key=lambda span: span["part"])

    assert (gateway["part"], worker["part"]) == ("polymerge-gateway", "polymerge-merge-worker")
    assert (gateway["name"], worker["name"]) == ("POST /merges", "merge")
    assert gateway["parent"] == CALLER
    assert worker["parent"] == gateway["id"]
    assert (worker["polymerge.job"], worker["polymerge.state"]) == (job["id"], "succeeded")


def test_the_server_that_is_asked_goes_on_with_the_trace(site: MergeSite, collector: Collector) -> None:
    """The server is another gateway."""
    with running_gateway(site.redis.url, site.data, **collector.settings) as (_, elsewhere):
        judges = judges_file(site.data, url=f"{elsewhere}/v1")
        settings = {"POLYMERGE_JUDGES": str(judges), **collector.settings}
        with running_gateway(site.redis.url, site.data, **settings) as (_, url):
            httpx2.post(f"{url}/v1/chat/completions", json=CHAT, headers=HEADERS, trust_env=False)
            spans = {span["polymerge.model"]: span for span in collector.trace(2)}

    assert spans["judge/strict"]["parent"] == CALLER
    assert spans[""]["parent"] == spans["judge/strict"]["id"]
    assert "A secret" not in str(collector.spans)


def test_nothing_of_it_is_imported_where_no_endpoint_is_set() -> None:
    """redis-py imports OpenTelemetry's metrics wherever they are installed."""
    code = (
        "import sys; from service.app import create_app; from service.settings import Settings; "
        "create_app(Settings()); print('\\n'.join(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "service.telemetry.otlp")
    assert "service.telemetry.traces" in said
    assert [name for name in said.splitlines() if name.startswith(ours)] == []
