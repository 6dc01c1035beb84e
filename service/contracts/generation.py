"""POST /generate: one or many prompts, one language."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.contracts.names import ModelId

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class GenerateRequest(BaseModel):
    """Exactly one of prompt, messages, prompts. `language` is a BCP-47 tag and selects the instruction."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=128)
    """Id or alias; `alias@fr` also selects the language."""
    language: str | None = Field(default=None, max_length=64)
    prompt: Text | None = None
    messages: list[Message] | None = Field(default=None, min_length=1)
    prompts: list[Text] | None = Field(default=None, min_length=1, max_length=1024)
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: list[str] = Field(default=[], max_length=16)
    stream: bool = False

    @model_validator(mode="after")
    def exactly_one_input(self) -> "GenerateRequest":
        if sum(value is not None for value in (self.prompt, self.messages, self.prompts)) != 1:
            raise ValueError("give exactly one of prompt, messages, prompts")
        return self


class Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class Output(BaseModel):
    """The answer to one prompt."""

    index: int
    text: str
    detected_language: str | None
    """BCP-47 primary tag; null when the text is too short to tell."""
    finish_reason: str
    usage: Usage


class GenerateResponse(BaseModel):
    model: ModelId
    """The id that really answered, whatever alias was asked."""
    language: str | None
    language_detector: str
    outputs: list[Output]
    usage: Usage


class Delta(BaseModel):
    """One server-sent event of a streamed generation: a piece of the text of output `index`."""

    model: ModelId
    index: int
    text: str
