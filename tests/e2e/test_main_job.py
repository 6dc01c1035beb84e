"""The main job over HTTP: recipes in, merged models out, answers in six languages."""

from pathlib import Path

import openai
import pytest

from clients.demo.assets import LANGUAGES, MERGES, Assets
from service.contracts.generation import Delta, GenerateResponse, Message
from service.contracts.job import Job
from service.contracts.model import Model
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

QUESTIONS = {
    "en": "Why do leaves fall in autumn?",
    "hi": "पतझड़ में पत्ते क्यों गिरते हैं?",
    "fr": "Pourquoi les feuilles tombent-elles en automne ?",
    "es": "¿Por qué caen las hojas en otoño?",
    "ar": "لماذا تسقط الأوراق في الخريف؟",
    "ru": "Почему осенью опадают листья?",
}


@pytest.fixture(scope="module")
def merged(service: Running) -> dict[str, Model]:
    """Both merges of the demo, by alias."""
    return {alias: service.api.merge(Assets().recipe(alias), name=alias) for alias in MERGES}


def test_a_merge_reports_bytes_and_becomes_an_immutable_model_named_by_its_recipe(
    service: Running, merged: dict[str, Model]
) -> None:
    jobs = [
        job
        for job in service.api.jobs.page(kind="merge").items
        if job.model in {m.id for m in merged.values()}
    ]
    assert {job.state for job in jobs} == {"succeeded"}
    for job in jobs:
        assert job.progress.bytes_done == job.progress.bytes_total > 200_000_000
        states = [event.data["state"] for event in service.api.jobs.events(job.id) if event.type == "state"]
        assert states == ["queued", "running", "succeeded"]
    for alias, model in merged.items():
        assert service.api.merges.submit(Assets().recipe(alias)).id == model.id
        assert model.kind == "merge"
        assert (service.data / "store" / "models" / model.id / "manifest.json").is_file()
    assert set(merged["language-ties"].languages) == set(LANGUAGES)


@pytest.mark.parametrize("alias", MERGES)
def test_a_merged_model_answers_in_six_languages(
    service: Running, merged: dict[str, Model], alias: str
) -> None:
    spoken = set()
    for language, question in QUESTIONS.items():
        answer = service.api.generate(alias, question, language=language, max_tokens=24)
        output = answer.outputs[0]
        assert answer.model == merged[alias].id
        assert output.text.strip()
        assert output.finish_reason in ("stop", "length")
        assert 0 < output.usage.completion_tokens <= 24
        spoken.add(output.detected_language)
    # A model of this size may slip into another language once or twice, not always.
    assert len(spoken & set(LANGUAGES)) >= 4


def test_prompts_are_answered_in_order_and_the_same_request_gives_the_same_answer(
    service: Running, merged: dict[str, Model]
) -> None:
    prompts = ["Name a fruit.", "Name a planet.", "Name a colour."]
    first, second = (
        service.api.generate("objective-slerp", prompts, language="en", temperature=0.8, seed=7)
        for _ in range(2)
    )
    assert [output.index for output in first.outputs] == [0, 1, 2]
    assert first == second
    assert first.usage.completion_tokens == sum(item.usage.completion_tokens for item in first.outputs)


def test_a_conversation_is_answered_with_its_past_in_mind(service: Running, merged: dict[str, Model]) -> None:
    question = Message(role="user", content="Name a fruit.")
    past = [
        question,
        Message(role="assistant", content="The apple."),
        Message(role="user", content="Another?"),
    ]
    alone, continued = (
        service.api.generate("objective-slerp", messages, language="en") for messages in ([question], past)
    )
    assert continued.outputs[0].usage.prompt_tokens > alone.outputs[0].usage.prompt_tokens


def test_a_stream_brings_the_pieces_and_then_the_whole(service: Running, merged: dict[str, Model]) -> None:
    *deltas, last = service.api.generate_stream("objective-slerp", "Name a fruit.", language="en")
    assert len(deltas) > 1
    assert isinstance(last, GenerateResponse)
    pieces = [item.text for item in deltas if isinstance(item, Delta)]
    assert "".join(pieces) == last.outputs[0].text


def test_the_openai_sdk_works_unmodified(service: Running, merged: dict[str, Model]) -> None:
    client = openai.OpenAI(base_url=f"{service.api.base_url}/v1", api_key="none")
    listed = {model.id for model in client.models.list()}
    assert {*MERGES, *(model.id for model in merged.values())} <= listed

    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": QUESTIONS["fr"]}
    ]
    whole = client.chat.completions.create(
        model="language-ties@fr", messages=messages, max_tokens=16, temperature=0
    )
    assert whole.model == merged["language-ties"].id
    assert whole.usage is not None
    chunks = list(
        client.chat.completions.create(
            model="language-ties@fr", messages=messages, max_tokens=16, temperature=0, stream=True
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.choices[0].message.content

    pinned = openai.OpenAI(base_url=f"{service.api.base_url}/models/mix15/v1", api_key="none")
    answer = pinned.completions.create(model="whatever", prompt="One, two,", max_tokens=4, temperature=0)
    assert answer.model == service.api.models.get("mix15").id

    with pytest.raises(openai.NotFoundError, match="nothing"):
        client.chat.completions.create(model="nothing", messages=messages)


def test_a_prompt_longer_than_the_context_is_refused_and_says_so(service: Running) -> None:
    client = openai.OpenAI(base_url=f"{service.api.base_url}/v1", api_key="none")
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model="objective-slerp", messages=[{"role": "user", "content": "word " * 5000}]
        )
    assert refusal.value.code == "context_length_exceeded"


def test_all_methods_merge_the_experts(service: Running, tmp_path: Path) -> None:
    """The other two recipes of the objective-based kind, from files as a user has them."""
    for alias in ("objective-linear", "objective-dare-ties"):
        work = service.api.merges.submit(Assets().recipe(alias), name=alias)
        assert isinstance(work, Job)
        assert service.api.finish(work).aliases == [alias]
