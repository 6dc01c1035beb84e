"""Pushing a model to a repository on the Hugging Face hub."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from service.contracts.names import ModelId


def _a_hub_name(name: str) -> str:
    if "--" in name or ".." in name or name.endswith((".git", ".", "-")):
        raise ValueError("the hub takes no name with '--' or '..', or that ends in '-', '.' or '.git'")
    return name


_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}"
HubRepository = Annotated[str, StringConstraints(pattern=rf"^{_WORD}/{_WORD}$"), AfterValidator(_a_hub_name)]
"""OWNER/NAME."""
HubRevision = Annotated[str, StringConstraints(pattern=rf"^{_WORD}$"), AfterValidator(_a_hub_name)]


class PushRequest(BaseModel):
    """Body of POST /models/{model}/push. The token is the worker's: no request carries one."""

    model_config = ConfigDict(extra="forbid")

    repository: HubRepository
    private: bool = False
    """Of a repository that is made for it; one that exists stays as it is."""
    revision: HubRevision = "main"
    """A branch; it is made if there is none."""


class Push(PushRequest):
    """What a worker is to do."""

    model: ModelId
