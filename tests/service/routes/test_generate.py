"""POST /generate before any engine is reached: what can't be answered is refused, and loads nothing."""

import json
from typing import Any

import pytest

from .conftest import MODELS, Gateway, assert_nothing_done, assert_problem

ASK: dict[str, Any] = {"model": "safety", "language": "fr", "prompt": "Bonjour ?"}


@pytest.mark.parametrize(
    ("change", "pointer", "hint"),
    [
        ({"language": "klingonese"}, "/language", "BCP-47"),
        ({"language": ""}, "/language", "BCP-47"),
        ({"language": "und"}, "/language", "no language"),
        ({"language": None, "model": "safety@klingonese"}, "/model", "BCP-47"),
        ({"prompt": ""}, "/prompt", "empty"),
        ({"prompt": " \n\t"}, "/prompt", "empty"),
        ({"prompt": None, "prompts": ["Salut ?", ""]}, "/prompts/1", "empty"),
        ({"prompt": None, "prompts": []}, "/prompts", "at least 1"),
        ({"prompt": None, "prompts": [{"prompt": "", "id": "a"}]}, "/prompts/0/prompt", "empty"),
        ({"prompt": None, "prompts": [{"prompt": "x", "language": "und"}]}, "/prompts/0/language", "no lang"),
        ({"prompt": None, "raw": True, "messages": [{"role": "user", "content": "x"}]}, "", "raw takes"),
        ({"stop": [""]}, "/stop/0", "empty"),
        ({"n": 0}, "/n", "greater"),
        ({"logprobs": 21}, "/logprobs", "less"),
        ({"prompt": None, "messages": [{"role": "user", "content": " "}]}, "/messages/0/content", "empty"),
        ({"prompt": None, "messages": [{"role": "root", "content": "x"}]}, "/messages/0/role", "user"),
        ({"prompt": None}, "", "exactly one"),
        ({"prompts": ["Salut ?"]}, "", "exactly one"),
        ({"max_tokens": 2048}, "/max_tokens", "2048"),
        ({"max_tokens": 0}, "/max_tokens", "greater"),
        ({"temperature": 3}, "/temperature", "less"),
        ({"temperature": "hot"}, "/temperature", "number"),
        ({"top_k": 1}, "/top_k", "unknown key"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(
    gateway: Gateway, change: dict[str, Any], pointer: str, hint: str
) -> None:
    for stream in (False, True):
        answer = gateway.client.post("/generate", json=ASK | change | {"stream": stream})
        assert hint in assert_problem(answer, 422, pointer)["detail"]
    assert_nothing_done(gateway)


def test_a_model_that_is_not_registered_is_404_with_the_nearest_name(gateway: Gateway) -> None:
    problem = assert_problem(gateway.client.post("/generate", json=ASK | {"model": "safty"}), 404, "/model")

    assert "did you mean 'safety'" in problem["detail"]
    assert_nothing_done(gateway)


@pytest.mark.parametrize("body", [b'{"model": "\\ud800", "prompt": "x"}', b"[" * 100_000, b"NaN", b"\xff"])
def test_a_hostile_body_is_refused(gateway: Gateway, body: bytes) -> None:
    answer = gateway.client.post("/generate", content=body, headers={"content-type": "application/json"})

    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_model_that_no_engine_loads_is_503_after_a_while(gateway: Gateway) -> None:
    answer = gateway.client.post("/generate", json=ASK)

    assert assert_problem(answer, 503)["type"] == "no-engine"
    assert int(answer.headers["retry-after"]) > 0


def test_a_failing_prompt_is_a_line_of_its_own_in_a_stream(gateway: Gateway) -> None:
    prompts = [{"prompt": "Salut ?", "id": "first"}, "Ça va ?"]
    body = {"model": "safety", "language": "fr", "prompts": prompts, "n": 2}
    answer = gateway.client.post("/generate", json=body, headers={"accept": "application/x-ndjson"})

    assert answer.headers["content-type"] == "application/x-ndjson"
    *lines, summary = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted((line["index"], line["sample"], line["id"], line["language"]) for line in lines) == [
        (0, 0, "first", "fr"),
        (0, 1, "first", "fr"),
        (1, 0, None, "fr"),
        (1, 1, None, "fr"),
    ]
    assert {line["error"]["type"] for line in lines} == {"no-engine"}
    assert summary["model"] == MODELS["safety"]


def test_languages_are_listed_and_inspected(gateway: Gateway) -> None:
    listed = {item["tag"]: item for item in gateway.client.get("/languages").json()}

    assert list(listed) == ["ar", "en", "es", "fr", "hi", "ru"]
    assert gateway.client.get("/languages/fr-CA").json() == listed["fr"]
    assert "Kiswahili" in gateway.client.get("/languages/sw").json()["instruction"]
    assert_problem(gateway.client.get("/languages/klingonese"), 422, "/tag")
