"""A recipe's `tokenizer`: which tokens the result knows, and where their embeddings come from."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from service.contracts.reference import Reference
from service.contracts.setting import none_is_empty

MAX_TOKENS = 4096
Token = Annotated[str, Field(min_length=1, max_length=1024)]


class RowSource(BaseModel):
    """An embedding: zeros, or what some token has in a model.

    Written {kind: zero}, {kind: model_token, model, token} or {…, token_id}, or as the model alone: then it
    is the embedding that the token in question has there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["zero", "model_token"]
    model: Reference | None = None
    token: Token | None = None
    token_id: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _model_alone(cls, raw: Any) -> Any:
        if isinstance(raw, str) or (isinstance(raw, dict) and "kind" not in raw):
            return {"kind": "model_token", "model": raw}
        return raw

    @model_validator(mode="after")
    def _belongs_together(self) -> "RowSource":
        if self.kind == "zero" and (self.model, self.token, self.token_id) != (None, None, None):
            raise ValueError("{kind: zero} says it all; model, token and token_id go with kind: model_token")
        if self.kind == "model_token" and self.model is None:
            raise ValueError("kind: model_token needs a model")
        if self.token is not None and self.token_id is not None:
            raise ValueError("give one of token, token_id")
        return self

    @model_serializer
    def _shortest(self) -> Any:
        if self.model is not None and self.token is None and self.token_id is None:
            return self.model
        given = {"model": self.model, "token": self.token, "token_id": self.token_id}
        return {"kind": self.kind} | {key: value for key, value in given.items() if value is not None}


_ROW_SOURCE_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]}


class TokenEmbedding(BaseModel):
    """Where the models that lack a token take its embedding from; with `force` all models do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[RowSource | None, WithJsonSchema(_ROW_SOURCE_SCHEMA)] = None
    """None: as without an entry."""
    force: bool = False


class Tokenizer(BaseModel):
    """The vocabulary of a merge's result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Reference = "union"
    """`union`: the tokens of all models; `base`: of the base, or the first, model; else those of a model."""
    tokens: Annotated[
        dict[Token, TokenEmbedding], Field(max_length=MAX_TOKENS), BeforeValidator(none_is_empty)
    ] = {}
    """They are added to the vocabulary if it lacks them."""
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Of the rows of the embeddings."""
