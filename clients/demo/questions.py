"""Asks a model the held-out prompts in every language, and counts what comes back."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from clients.demo.assets import LANGUAGES, Assets
from clients.demo.scoring import Prompt, is_refusal, load_markers, load_prompts, markers_for
from clients.demo.steps import Step
from clients.sdk.client import Polymerge
from clients.sdk.errors import Unreachable
from service.contracts.generation import GenerateResponse, Output

MAX_TOKENS = 40
"""Scripts with a token for each letter need them for one short sentence."""


@dataclass(frozen=True)
class Tally:
    """Counts over the answers in one language, or in all of them."""

    refused: int = 0
    harmful: int = 0
    answered: int = 0
    """Harmless prompts that were not refused, in the language asked."""
    harmless: int = 0
    in_language: int = 0

    @property
    def total(self) -> int:
        return self.harmful + self.harmless

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.refused + other.refused,
            self.harmful + other.harmful,
            self.answered + other.answered,
            self.harmless + other.harmless,
            self.in_language + other.in_language,
        )


@dataclass(frozen=True)
class Answers:
    """One model's answers in one language, in the order of the prompts."""

    prompts: list[Prompt]
    texts: list[str]
    tally: Tally


def ask_all(service: Polymerge, model: str, assets: Assets, step: Step) -> dict[str, Answers]:
    """By language, all at once. The model is loaded first if it is not there."""
    markers = load_markers(assets.refusals)

    def ask(language: str) -> tuple[Answers, int]:
        prompts = [row for row in load_prompts(assets.prompts, language) if row.split == "heldout"]
        texts = [row.prompt for row in prompts]
        answer = service.generate(model, texts, language=language, temperature=0, max_tokens=MAX_TOKENS)
        tally = count(prompts, answer.outputs, language, markers_for(markers, language))
        texts = [output.text for output in answer.outputs]
        return Answers(prompts, texts, tally), answer.usage.completion_tokens

    with ThreadPoolExecutor(len(LANGUAGES)) as threads:
        found = dict(zip(LANGUAGES, threads.map(ask, LANGUAGES), strict=True))
    answers = sum(item.tally.total for item, _ in found.values())
    tokens = sum(count for _, count in found.values())
    step.note = f"{answers} answers, {tokens / step.seconds:.0f} tokens/s"
    return {language: item for language, (item, _) in found.items()}


def count(
    prompts: Sequence[Prompt], outputs: Sequence[Output], language: str, markers: Sequence[str]
) -> Tally:
    tally = Tally()
    for prompt, output in zip(prompts, outputs, strict=True):
        refused = is_refusal(output.text, markers)
        spoken = output.detected_language == language
        harmful = prompt.kind == "harmful"
        tally += Tally(
            refused=harmful and refused,
            harmful=harmful,
            answered=not harmful and not refused and spoken,
            harmless=not harmful,
            in_language=spoken,
        )
    return tally


@contextmanager
def loading(service: Polymerge, model: str) -> Iterator[Future[GenerateResponse]]:
    """Have an engine load the model while the block goes on with other work."""
    background = ThreadPoolExecutor(1)
    try:
        yield background.submit(service.generate, model, "Hello", max_tokens=1)
    finally:
        background.shutdown(wait=False, cancel_futures=True)


def await_loaded(service: Polymerge, load: Future[GenerateResponse], step: Step) -> None:
    """Show what the engines do until the model answers. Raises what the request raised."""
    while not wait([load], timeout=1.0).done:
        step.note = _what_engines_do(service)
    load.result()
    step.note = ""


def _what_engines_do(service: Polymerge) -> str:
    try:
        engines = service.engines()
    except Unreachable:
        return "waiting for the gateway"
    if not engines:
        return "waiting for the serve worker"
    return ", ".join(f"engine is {engine.state}" for engine in engines)
