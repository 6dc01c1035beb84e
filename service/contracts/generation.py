"""POST /generate: one or many prompts, in one language or in several."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from service.contracts.keep_alive import KeepAlive
from service.contracts.problem import Problem

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]
LanguageTag = Annotated[str, StringConstraints(max_length=64)]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
MAX_MESSAGES = 2048
MAX_PROMPTS = 1024
MAX_SAMPLES = 64
MAX_ANSWERS = 4096
"""Prompts times samples of each, in one request."""
_TEXT = TypeAdapter(Text)


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class Prompt(BaseModel):
    """A prompt with a name that its answer will carry, and a language that goes before the request's."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text
    id: str | None = Field(default=None, max_length=256)
    language: LanguageTag | None = None


def _named(value: Any, handler: ValidatorFunctionWrapHandler) -> Prompt:
    """A text alone is a prompt without a name; not a union, so that errors point at what was sent."""
    return Prompt(prompt=_TEXT.validate_python(value)) if isinstance(value, str) else handler(value)


class GenerateRequest(BaseModel):
    """Exactly one of prompt, messages, prompts. `language` is a BCP-47 tag and selects the instruction."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=128)
    """Id or alias, `alias@fr` for the language too, `@fr` for its default model, or `judge/NAME`."""
    language: LanguageTag | None = None
    prompt: Text | None = None
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    prompts: list[Annotated[Prompt, WrapValidator(_named, json_schema_input_type=Text | Prompt)]] | None = (
        Field(default=None, min_length=1, max_length=MAX_PROMPTS)
    )
    raw: bool = False
    """Send the prompt untouched: no chat template, no instruction."""
    n: int = Field(default=1, ge=1, le=MAX_SAMPLES)
    """Samples of each prompt; the i-th has the seed `seed` + i."""
    max_tokens: int = Field(default=256, ge=1, le=2**20)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=0, lt=2**62)
    stop: list[StopText] = Field(default=[], max_length=16)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Natural logarithms of each token's probability, and of so many of the likeliest in its place."""
    keep_alive: KeepAlive | None = None
    """How long the model stays loaded afterwards; null: as the serve worker is set."""
    stream: bool = False

    @model_validator(mode="after")
    def exactly_one_input(self) -> "GenerateRequest":
        if sum(value is not None for value in (self.prompt, self.messages, self.prompts)) != 1:
            raise ValueError("give exactly one of prompt, messages, prompts")
        if self.raw and self.messages is not None:
            raise ValueError("raw takes prompt or prompts: messages need the model's chat template")
        return self

    @model_validator(mode="after")
    def not_too_many_answers(self) -> "GenerateRequest":
        count = len(self.prompts or [None]) * self.n
        if count > MAX_ANSWERS:
            raise ValueError(f"prompts times n are {count} answers; one request gets {MAX_ANSWERS} at most")
        return self


class Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class Alternative(BaseModel):
    token: str
    logprob: float


class TokenLogprob(BaseModel):
    token: str
    logprob: float
    top: list[Alternative] = []
    """The likeliest first."""


class Asked(BaseModel):
    """Which of the request's prompts this is about."""

    index: int
    """Of the prompt, from 0."""
    id: str | None = None
    """As the prompt came with."""
    sample: int = 0
    """Of the prompt's n answers, from 0."""
    language: str | None = None
    """BCP-47 tag that was asked for."""


class Output(Asked):
    """One answer to one prompt."""

    text: str
    detected_language: str | None
    """BCP-47 primary tag; null when the text is too short to tell."""
    finish_reason: str
    usage: Usage
    logprobs: list[TokenLogprob] | None = None


class Failure(Asked):
    """A line of the NDJSON stream in place of an Output: this prompt failed, the others go on."""

    error: Problem


class Delta(Asked):
    """A server-sent event of a streamed generation: a piece of an answer's text."""

    model: str
    text: str


class GenerateSummary(BaseModel):
    """The last line of the NDJSON stream."""

    model: str
    """The id that really answered, whatever alias was asked; `judge/NAME` for a judge."""
    language: str | None
    language_detector: str
    usage: Usage


class GenerateResponse(GenerateSummary):
    outputs: list[Output]
    """In the order of the prompts, and of the samples of each."""
