"""What operators see of a real engine: tokens, loads, and the id of the request that it answers."""

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

CHAT = {"messages": [{"role": "user", "content": "What is the capital of Italy?"}], "max_tokens": 8}


def metric(client: httpx2.Client, name: str, **labels: str) -> float:
    """The sum over all series with these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_tokens_loads_and_requests_of_an_engine_are_told(service: Running) -> None:
    with httpx2.Client(base_url=service.api.base_url, trust_env=False, timeout=300) as client:
        model = client.get("/models/safety").json()["id"]

        def tokens(direction: str) -> float:
            return metric(client, "polymerge_tokens_total", direction=direction, model=model, language="fr")

        before = tokens("in"), tokens("out")
        body = CHAT | {"model": "safety@fr"}
        answer = client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": "of-a-test"}).json()
        streamed = client.post("/v1/chat/completions", json=body | {"stream": True}).text

        assert answer["id"] == "chatcmpl-of-a-test", "the engine was not told the request's id"
        usage = answer["usage"]
        assert usage["completion_tokens"] == 8
        assert '"usage"' not in streamed, "nobody has asked for it"
        assert tokens("in") - before[0] == 2 * usage["prompt_tokens"]
        assert tokens("out") - before[1] == 2 * 8
        assert metric(client, "polymerge_engine_loads_total") >= 1
        assert metric(client, "polymerge_engines", state="ready") >= 1
        assert metric(client, "polymerge_engine_memory_bytes") > 0
