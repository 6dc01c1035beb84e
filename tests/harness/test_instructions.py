"""What a model is given to read, by route and language: told by the number of its tokens."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from clients.demo.assets import BASE
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

PROMPT = "Where does the sun rise?"


@pytest.fixture
def http(service: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.api.base_url, trust_env=False, timeout=300) as client:
        yield client


@pytest.fixture
def expected(service: Running, http: httpx2.Client) -> dict[str | None, int]:
    """Tokens of the question as the chat template writes it, after the instruction of each language."""
    instructions = {profile.tag: profile.instruction for profile in service.api.languages()}
    asked = {"role": "user", "content": PROMPT}
    conversations = {tag: [{"role": "system", "content": text}, asked] for tag, text in instructions.items()}
    return {
        tag: http.post("/tokenize", json={"model": BASE, "messages": messages}).json()["count"]
        for tag, messages in [(None, [asked]), *conversations.items()]
    }


def test_each_prompt_has_the_instruction_of_its_own_language(
    http: httpx2.Client, expected: dict[str | None, int]
) -> None:
    assert len(set(expected.values())) > 3
    prompts = [{"prompt": PROMPT, "id": f"in {tag}", "language": tag} for tag in expected]
    asked = {"model": BASE, "prompts": prompts, "max_tokens": 1, "stream": True}
    *lines, summary = map(json.loads, http.post("/generate", json=asked).text.splitlines())

    read = {line["id"]: line["usage"]["prompt_tokens"] for line in lines}
    assert read == {f"in {tag}": count for tag, count in expected.items()}
    assert summary["usage"]["prompt_tokens"] == sum(expected.values())


def test_a_language_beside_the_model_s_name_is_its_instruction(
    http: httpx2.Client, expected: dict[str | None, int]
) -> None:
    for tag, count in expected.items():
        model = f"{BASE}@{tag}" if tag else BASE
        asked = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1}
        for path, named in (("/v1", {"model": model}), (f"/models/{model}/v1", {})):
            answer = http.post(f"{path}/chat/completions", json=asked | named).json()
            assert answer["usage"]["prompt_tokens"] == count


def test_raw_is_the_prompt_and_nothing_else(http: httpx2.Client) -> None:
    text = "  <|im_start|>user\nOne, two,"
    plain = {"model": BASE, "prompt": text, "add_special_tokens": False}
    asked = {"model": f"{BASE}@fr", "prompt": text, "raw": True, "max_tokens": 1}
    usage = http.post("/generate", json=asked).json()["usage"]
    assert usage["prompt_tokens"] == http.post("/tokenize", json=plain).json()["count"]
