"""Bodies under /v1: what of OpenAI's and vLLM's fields is bounded here. Others are passed on, or ignored."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from service.contracts.generation import MAX_ANSWERS, MAX_MESSAGES, MAX_PROMPTS, MAX_SAMPLES, StopText
from service.contracts.keep_alive import KeepAlive

Likeliest = Annotated[StrictInt, Field(ge=0, le=20)]
TokenId = Annotated[StrictInt, Field(ge=0, lt=2**31)]


def _in_a_list(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


def _leave_template(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("chat_template", "tokenize"):
        if name in values:
            raise ValueError(f"{name} can't be set: the template is the model's own")
    return values


Stop = Annotated[
    list[StopText], BeforeValidator(_in_a_list, json_schema_input_type=str | list[str]), Field(max_length=16)
]
TemplateValues = Annotated[dict[str, Any], Field(max_length=64), AfterValidator(_leave_template)]
_MESSAGE = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array", "null"]}},
    "required": ["role", "content"],
}
Messages = Annotated[
    list[Any],
    Field(max_length=MAX_MESSAGES),
    WithJsonSchema({"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MAX_MESSAGES}),
]
PROMPT_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": MAX_PROMPTS, "items": {}}]}


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: StrictStr | None = None
    """Id or alias, with a language as in `alias@fr`; not needed where the path names the model."""


class _Sampling(_Body):
    n: Annotated[StrictInt, Field(ge=1, le=MAX_SAMPLES)] | None = None
    stop: Stop | None = None
    stream_options: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None
    prompt_logprobs: Likeliest | None = None
    allowed_token_ids: Annotated[list[Any], Field(max_length=4096)] | None = None
    bad_words: Annotated[list[Any], Field(max_length=256)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=1024)] | None = None
    logprob_token_ids: Annotated[list[Any], Field(max_length=128)] | None = None
    stop_token_ids: Annotated[list[Any], Field(max_length=256)] | None = None


class ChatBody(_Sampling):
    messages: Messages
    logprobs: StrictBool | None = None
    top_logprobs: Likeliest | None = None
    tools: Annotated[list[Any], Field(max_length=128)] | None = None
    documents: Annotated[list[Any], Field(max_length=64)] | None = None
    chat_template_kwargs: TemplateValues | None = None


class CompletionBody(_Sampling):
    prompt: Annotated[Any, WithJsonSchema(PROMPT_SCHEMA)]
    logprobs: Likeliest | None = None

    @model_validator(mode="after")
    def not_too_many_answers(self) -> "CompletionBody":
        prompts = _count(self.prompt)
        if prompts > MAX_PROMPTS:
            raise ValueError(f"there are {prompts} prompts; at most {MAX_PROMPTS} are taken")
        if prompts * (self.n or 1) > MAX_ANSWERS:
            raise ValueError(f"prompts times n are more than {MAX_ANSWERS} answers")
        return self


class TokenizeBody(_Body):
    prompt: StrictStr | None = None
    messages: Messages | None = None
    chat_template_kwargs: TemplateValues | None = None


class DetokenizeBody(_Body):
    tokens: list[TokenId]


class OpenAIError(BaseModel):
    """What is wrong; `param` is the place in the body, `code` a slug that programs can switch on."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIProblem(BaseModel):
    """The body of every error of OpenAI's routes."""

    error: OpenAIError


def _count(prompt: Any) -> int:
    """A list of numbers is one prompt, of token ids."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if several else 1
