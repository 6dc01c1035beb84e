"""What every harness builds on, by way of the OpenAI SDK: completions, streams, tokenizer, hanging up."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from redis import Redis

from clients.demo.assets import BASE
from service.answering.openai_request import CHAT, COMPLETION
from tests.builders.gateway_process import running_gateway
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

TEXTS = ["The capital of Italy is", "La capitale de la France est", "भारत की राजधानी", "عاصمة مصر", "Столица"]


@pytest.fixture
def client(service: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.api.base_url}/v1", api_key="none") as found:
        yield found


def test_the_tokenizer_of_the_gateway_is_the_engine_s(service: Running, pinned: str) -> None:
    with httpx2.Client(trust_env=False, timeout=120) as http:
        for text in TEXTS:
            plain = {"prompt": text, "add_special_tokens": False}
            own = http.post(f"{pinned}/tokenize", json=plain).json()
            engine = http.post(f"{pinned}/tokenize", json=plain | {"return_token_strs": True}).json()
            assert own["tokens"] == engine["tokens"]
            assert own["count"] == engine["count"]
            back = http.post(f"{pinned}/detokenize", json={"tokens": own["tokens"]}).json()
            assert back["prompt"] == text
        own_info = http.get(f"{pinned}/tokenizer_info").json()
        engine_info = httpx2.get(f"{engine_url(service)}/tokenizer_info", trust_env=False).json()
        named = ("eos_token", "bos_token", "chat_template")
        assert {name: own_info.get(name) for name in named} == {name: engine_info.get(name) for name in named}


def test_prompts_of_every_kind_are_scored_by_echo(client: openai.OpenAI, pinned: str) -> None:
    ids = [httpx2.post(f"{pinned}/tokenize", json={"prompt": text}).json()["tokens"] for text in TEXTS]
    for prompt, lengths in (
        (TEXTS[0], [len(ids[0])]),
        (TEXTS, [len(item) for item in ids]),
        (ids[0], [len(ids[0])]),
        (ids, [len(item) for item in ids]),
    ):
        answer = client.completions.create(
            model=BASE, prompt=prompt, max_tokens=1, temperature=0, echo=True, logprobs=1
        )
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        assert len(choices) == len(lengths)
        for choice, length in zip(choices, lengths, strict=True):
            assert choice.logprobs is not None
            assert choice.logprobs.token_logprobs is not None
            assert choice.logprobs.token_logprobs[0] is None
            assert len(choice.logprobs.token_logprobs) == length + 1
            assert all(value is not None and value <= 0 for value in choice.logprobs.token_logprobs[1:])


def test_a_stream_ends_with_the_usage_of_the_whole_answer(client: openai.OpenAI) -> None:
    asked = [openai.types.chat.ChatCompletionUserMessageParam(role="user", content="Name a fruit.")]
    whole = client.chat.completions.create(model=BASE, messages=asked, max_tokens=8, temperature=0)
    stream = client.chat.completions.create(
        model=BASE,
        messages=asked,
        max_completion_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        whole.choices[0].message.content
    )
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_a_prompt_that_does_not_fit_is_context_length_exceeded(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.completions.create(model=BASE, prompt=[1] * 3000, max_tokens=1)
    assert refusal.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1), ("top_logprobs", "many"), ("response_format", {})]
)
def test_what_the_engine_refuses_names_the_field(client: openai.OpenAI, field: str, value: object) -> None:
    asked = [openai.types.chat.ChatCompletionUserMessageParam(role="user", content="Hello?")]
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=BASE, messages=asked, extra_body={field: value})
    assert refusal.value.param is not None
    assert refusal.value.param.split("/")[0] == field


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", '{"model": "%s", "prompt": "One", "max_tokens": 2000, "ignore_eos": true}'),
        (
            "/v1/completions",
            '{"model": "%s", "prompt": "One", "max_tokens": 2000, "ignore_eos": true, "stream": true}',
        ),
        ("/generate", '{"model": "%s", "prompts": ["One", "Two"], "max_tokens": 2000, "n": 4, "raw": true}'),
        ("/generate", '{"model": "%s", "prompt": "One", "max_tokens": 2000, "raw": true, "stream": true}'),
    ],
)
def test_a_client_that_hangs_up_frees_the_engine(service: Running, path: str, body: str) -> None:
    service.api.generate(BASE, "Hello?", max_tokens=1)
    address, sent = urlsplit(service.api.base_url), body % BASE
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n{sent}".encode())
        await_running(service, lambda count: count > 0)
    await_running(service, lambda count: count == 0)


def test_samples_of_a_prompt_are_repeatable_and_carry_log_probabilities(service: Running) -> None:
    first, second = (
        service.api.generate(
            BASE, "Once upon", raw=True, n=2, seed=3, temperature=1.0, max_tokens=6, logprobs=2
        )
        for _ in range(2)
    )
    assert [output.text for output in first.outputs] == [output.text for output in second.outputs]
    assert [output.sample for output in first.outputs] == [0, 1]
    assert first.outputs[0].text != first.outputs[1].text
    for output in first.outputs:
        assert output.logprobs is not None
        assert "".join(token.token for token in output.logprobs) == output.text
        assert all(len(token.top) >= 2 and token.logprob <= token.top[0].logprob for token in output.logprobs)


def test_a_judge_elsewhere_answers_through_the_same_door(
    service: Running, redis: "Redis", redis_url: str, tmp_path: Path
) -> None:
    """The judge is the base model of the running service; another gateway asks it."""
    judges = tmp_path / "judges.yaml"
    judges.write_text(f"- {{name: strict, url: {service.api.base_url}/v1, model: {BASE}}}")
    with (
        running_gateway(redis_url, tmp_path, POLYMERGE_JUDGES=str(judges)) as (_, url),
        openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
    ):
        assert client.models.retrieve("judge/strict") in client.models.list().data
        answer = client.completions.create(model="judge/strict", prompt="One, two,", max_tokens=4)
    assert answer.model == "judge/strict"
    assert answer.choices[0].text


def test_the_engine_knows_every_field_that_is_passed_on(service: Running) -> None:
    service.api.generate(BASE, "Hello?", max_tokens=1)
    schemas = httpx2.get(f"{engine_url(service)}/openapi.json", trust_env=False).json()["components"][
        "schemas"
    ]
    assert set(schemas["ChatCompletionRequest"]["properties"]) >= CHAT
    assert set(schemas["CompletionRequest"]["properties"]) >= COMPLETION


def engine_url(service: Running) -> str:
    service.api.generate(BASE, "Hello?", max_tokens=1)
    model = service.api.models.get(BASE).id
    return next(engine.url for engine in service.api.engines() if engine.model == model and engine.url)


def await_running(service: Running, reached: Callable[[float], bool]) -> None:
    """Until as many requests run in the engine as vLLM itself counts."""
    model = service.api.models.get(BASE).id
    url = next(engine.url for engine in service.api.engines() if engine.model == model)
    deadline = time.monotonic() + 60
    while not reached(running(str(url))):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def running(url: str) -> float:
    lines = httpx2.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))
