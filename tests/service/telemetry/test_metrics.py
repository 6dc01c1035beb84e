"""GET /metrics: what an operator reads from it, and that the dashboard asks for nothing else."""

import json
import re
from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.contracts.job import JobError
from service.settings import Settings
from service.telemetry.request import RequestNotes
from service.telemetry.request_metrics import RequestMetrics
from tests.builders.redis_server import RedisServer
from tests.service.routes.conftest import MODELS, Gateway, gateway

__all__ = ["gateway"]

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "polymerge.json"
RECIPE = {"merge_method": "linear", "models": [{"model": "safety", "parameters": {"weight": 0.5}}]}


class Scrape:
    def __init__(self, client: TestClient) -> None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        self.families: list[Metric] = list(text_string_to_metric_families(answer.text))

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one series with these labels."""
        found = [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, found
        return found[0] if found else None


def test_jobs_are_counted_from_the_queue_to_their_end(gateway: Gateway) -> None:
    gateway.client.post("/merges", json=RECIPE)
    queued = Scrape(gateway.client)
    assert queued.value("polymerge_jobs", kind="merge", state="queued") == 1
    assert queued.value("polymerge_queue_oldest_seconds") > 0  # type: ignore[operator]
    assert queued.value("polymerge_jobs_finished_total", kind="merge") is None

    gateway.work()
    lost = gateway.jobs.start(gateway.jobs.submit("merge", {}).id, "worker")
    lost = gateway.jobs.start(lost.id, "worker")
    gateway.jobs.finish(lost, "failed", error=JobError(type="worker-lost", detail="gone"))
    gateway.jobs.finish(lost, "failed", error=JobError(type="worker-lost", detail="gone"))

    done = Scrape(gateway.client)
    assert done.value("polymerge_jobs", kind="merge", state="queued") == 0
    assert done.value("polymerge_queue_oldest_seconds") == 0
    assert done.value("polymerge_jobs_finished_total", kind="merge", state="succeeded") == 1
    assert done.value("polymerge_jobs_finished_total", kind="merge", state="failed") == 1
    assert done.value("polymerge_job_failures_total", kind="merge", error="worker-lost") == 1
    assert done.value("polymerge_job_attempts_total", kind="merge") == 3
    assert done.value("polymerge_job_bytes_total", kind="merge") == 6 * 4
    assert done.value("polymerge_job_seconds_total", kind="merge") > 0  # type: ignore[operator]
    assert done.value("polymerge_models") == len(MODELS) + 1


def test_requests_are_counted_by_route_model_and_language(gateway: Gateway) -> None:
    ask = {"model": "safety", "language": "fr", "prompt": "Bonjour ?"}
    for _ in range(2):
        assert gateway.client.post("/generate", json=ask).status_code == 503
    gateway.client.post("/generate", json=ask | {"model": "no-such-model"})
    gateway.client.get("/models/safety")
    gateway.client.get("/no/such/path")

    found = Scrape(gateway.client)
    assert found.value("polymerge_requests_total", method="POST", route="/generate", status="503") == 2
    assert found.value("polymerge_requests_total", method="POST", route="/generate", status="404") == 1
    assert found.value("polymerge_requests_total", route="(no route)", status="404") == 1
    name = "polymerge_request_seconds_count"
    assert found.value(name, route="/generate", model=MODELS["safety"], language="fr") == 2
    assert found.value(name, route="/generate", model="", language="") == 1
    assert found.value(name, route="/models/{reference}") == 1


def test_models_and_languages_without_number_make_a_bounded_number_of_series() -> None:
    metrics = RequestMetrics()
    for number in range(1000):
        notes = RequestNotes("id", model=f"m_{number:016x}", language="fr", tokens_in=3, tokens_out=5)
        metrics.observe("POST", "/generate", 200, 1.0, notes)

    counts = {
        sample.labels["model"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "polymerge_tokens_total" and sample.labels["direction"] == "out"
    }
    assert len(counts) == 201
    assert counts["other"] == 5 * 800
    assert sum(counts.values()) == 5 * 1000


def test_with_redis_away_the_gateway_still_tells_what_it_knows(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    settings = Settings(redis_url=server.url, data=tmp_path / "data")
    try:
        with TestClient(create_app(settings)) as client:
            assert Scrape(client).value("polymerge_redis_up") == 1
            server.kill()
            found = Scrape(client)
    finally:
        server.kill()
    assert found.value("polymerge_redis_up") == 0
    assert found.value("polymerge_jobs", kind="merge", state="queued") is None
    assert found.value("polymerge_store_free_bytes") > 0  # type: ignore[operator]
    assert found.value("polymerge_requests_total", route="/metrics") == 1


def test_every_query_of_the_dashboard_names_metrics_that_exist(gateway: Gateway) -> None:
    scrape = Scrape(gateway.client)
    existing = {family.name for family in scrape.families}
    existing |= {f"{family.name}_total" for family in scrape.families if family.type == "counter"}
    for family in scrape.families:
        if family.type == "histogram":
            existing |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(queries) > 20
    for query in queries:
        named = set(re.findall(r"\b(?:polymerge|process)_[a-z_]+", query))
        assert named, query
        assert named <= existing, query
    ours = {name for name in existing if name.startswith("polymerge_") and not name.endswith("_total")}
    asked = " ".join(queries)
    assert [name for name in ours if name not in asked and not name.endswith(("_sum", "_created"))] == []
