"""A language profile: how answers in a language are asked for."""

from pydantic import BaseModel, ConfigDict, Field

from service.contracts.names import ModelRef


class LanguageProfile(BaseModel):
    """`<tag>.json` among the profiles, and an item of GET /languages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: str = Field(min_length=1, max_length=64)
    """BCP-47."""
    name: str = Field(min_length=1)
    """The language's own name for itself."""
    instruction: str = Field(min_length=1)
    """System message, in the language, for requests that bring none of their own."""
    model: ModelRef | None = None
    """What `@tag` alone stands for; POLYMERGE_DEFAULT_MODEL when null."""
