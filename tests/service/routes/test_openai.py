"""OpenAI's routes before any engine is reached: the listing, and errors as OpenAI's clients expect them."""

from typing import Any

import pytest
import torch
from httpx2 import Response

from service.models.registry import Registry
from tests.workers.serving.models import add_model

from .conftest import MODELS, Gateway, assert_nothing_done

CHAT: dict[str, Any] = {"model": "safety", "messages": [{"role": "user", "content": "Hello?"}]}


def error_of(answer: Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def test_every_model_is_listed_under_its_id_and_its_names(gateway: Gateway) -> None:
    listing = gateway.client.get("/v1/models").json()

    assert listing["object"] == "list"
    assert {item["id"]: item["root"] for item in listing["data"]} == {
        name: ident for alias, ident in MODELS.items() for name in (alias, ident)
    }
    assert all(item["object"] == "model" and item["created"] > 0 for item in listing["data"])
    pinned = gateway.client.get("/models/safety/v1/models").json()["data"]
    assert [item["id"] for item in pinned] == [MODELS["safety"], "safety"]


def test_a_model_is_retrieved_by_any_name_that_requests_may_use(gateway: Gateway) -> None:
    listed = {item["id"]: item for item in gateway.client.get("/v1/models").json()["data"]}
    for name in ("safety", MODELS["safety"]):
        assert gateway.client.get(f"/v1/models/{name}").json() == listed[name]
    for path in ("/v1/models/safety@fr", "/models/safety/v1/models/safety@fr"):
        assert gateway.client.get(path).json() == listed["safety"] | {"id": "safety@fr"}
    for name in ("safty", "judge/strict"):
        assert error_of(gateway.client.get(f"/v1/models/{name}"), 404)["code"] == "model_not_found"


def test_the_context_is_the_model_s_own_where_that_is_shorter(gateway: Gateway) -> None:
    short = add_model(
        gateway.store, "m_00000000000000c0", {"w": torch.zeros(2)}, {"max_position_embeddings": 64}
    )
    Registry(gateway.store, gateway.redis).add(short, ["short"])

    listed = {item["id"]: item["max_model_len"] for item in gateway.client.get("/v1/models").json()["data"]}
    assert (listed["short"], listed["safety"]) == (64, 2048)
    refusal = gateway.client.post("/v1/chat/completions", json=CHAT | {"model": "short", "max_tokens": 64})
    assert error_of(refusal, 400)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
def test_a_tokenizer_belongs_to_a_model(gateway: Gateway, path: str) -> None:
    for place, status, code in (("", 400, "invalid-request"), ("/models/nobody", 404, "model_not_found")):
        answer = gateway.client.post(place + path, json={"prompt": "x", "tokens": [1]})
        assert error_of(answer, status)["code"] == code
        answer = gateway.client.get(f"{place}/tokenizer_info")
        assert error_of(answer, status)["code"] == code
    assert_nothing_done(gateway)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"messages": []}, "invalid-request", "messages"),
        ({"messages": "Hello?"}, "invalid-request", "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "invalid-request", "messages/0/content"),
        ({"messages": [{"role": "user"}]}, "invalid-request", "messages/0/content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "invalid-request",
            "messages/0/content/0",
        ),
        ({"stop": ["#", ""]}, "invalid-request", "stop/1"),
        ({"stop": ["#"] * 17}, "invalid-request", "stop"),
        ({"n": 10**6}, "invalid-request", "n"),
        ({"n": "1000000"}, "invalid-request", "n"),
        ({"top_logprobs": 100_000}, "invalid-request", "top_logprobs"),
        ({"messages": CHAT["messages"] * 2049}, "invalid-request", "messages"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "invalid-request", "chat_template_kwargs"),
        ({"keep_alive": "soon"}, "invalid-request", "keep_alive"),
        ({"model": None}, "invalid-request", "model"),
        ({"model": 7}, "invalid-request", "model"),
        ({"model": "@fr"}, "invalid-request", "model"),
        ({"model": "judge/strict"}, "model_not_found", "model"),
        ({"model": "safety@klingonese"}, "unknown-language", "model"),
        ({"max_tokens": 2048}, "context_length_exceeded", "max_tokens"),
        ({"max_completion_tokens": 10**30}, "context_length_exceeded", "max_completion_tokens"),
    ],
)
def test_a_bad_chat_request_is_400(
    gateway: Gateway, change: dict[str, Any], code: str, param: str | None, stream: bool
) -> None:
    answer = gateway.client.post("/v1/chat/completions", json=CHAT | change | {"stream": stream})

    error = error_of(answer, 404 if code == "model_not_found" else 400)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert_nothing_done(gateway)


@pytest.mark.parametrize("prompt", [None, "", [], [""], [[5], []], ["x"] * 1025])
def test_a_completion_of_nothing_or_too_much_is_400(gateway: Gateway, prompt: object) -> None:
    error_of(gateway.client.post("/v1/completions", json={"model": "safety", "prompt": prompt}), 400)
    assert_nothing_done(gateway)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b'{"model": "\\ud800"}', b'{"temperature": NaN}', b"[" * 100_000, b"\xff"],
)
def test_a_body_that_is_no_json_object_is_400(gateway: Gateway, body: bytes) -> None:
    error_of(gateway.client.post("/v1/chat/completions", content=body), 400)
    assert_nothing_done(gateway)


def test_an_unknown_model_is_model_not_found(gateway: Gateway) -> None:
    answers = [
        gateway.client.post("/v1/chat/completions", json=CHAT | {"model": "safty"}),
        gateway.client.post("/models/safty/v1/chat/completions", json=CHAT),
    ]
    for answer in answers:
        error = error_of(answer, 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "did you mean 'safety'" in error["message"]
    error_of(gateway.client.get("/models/safty/v1/models"), 404)
    assert_nothing_done(gateway)


def test_a_model_that_no_engine_loads_is_a_server_error_to_be_tried_again(gateway: Gateway) -> None:
    answer = gateway.client.post("/models/safety/v1/chat/completions", json=CHAT)

    assert error_of(answer, 503)["type"] == "server_error"
    assert int(answer.headers["retry-after"]) > 0


def test_no_other_route_of_the_engines_is_reachable(gateway: Gateway) -> None:
    for path in ("/v1/load_lora_adapter", "/collective_rpc", "/v1/embeddings", "/models/safety/v1/pause"):
        assert gateway.client.post(path, json={}).status_code == 404
