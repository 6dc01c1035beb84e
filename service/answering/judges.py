"""Judges: models on servers elsewhere, asked through the same routes as the merged ones.

The file POLYMERGE_JUDGES lists them, and no other server is ever asked:

    - name: strict
      url: https://judge.example/v1
      model: guard-8b
      key_env: JUDGE_KEY
"""

import os
from pathlib import Path
from typing import Annotated
from urllib.request import getproxies, proxy_bypass

import yaml
from pydantic import BaseModel, ConfigDict, HttpUrl, StringConstraints, TypeAdapter, field_validator

from service.answering.model_server import Address
from service.contracts.names import AliasName
from service.errors import ProblemError

PREFIX = "judge/"


class Judge(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: AliasName
    url: HttpUrl
    """Ends in /v1."""
    model: str
    """What the server calls it."""
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """The environment variable that holds the API key; null where none is needed."""

    @field_validator("url")
    @classmethod
    def ends_in_v1_and_holds_no_secret(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password or url.query:
            raise ValueError("a key belongs into the environment variable that key_env names")
        if not (url.path or "").rstrip("/").endswith("/v1"):
            raise ValueError("must end in /v1, as OpenAI's base URLs do")
        return url

    def address(self) -> Address:
        """Raises ProblemError when the key is not there."""
        key = os.environ.get(self.key_env) if self.key_env else None
        if self.key_env and not key:
            detail = f"{PREFIX}{self.name} needs its key in the service's environment, as {self.key_env}"
            raise ProblemError(503, "no-engine", detail)
        url = str(self.url).rstrip("/").removesuffix("/v1")
        return Address(
            url=url, served_name=self.model, model=PREFIX + self.name, key=key, proxy=_proxy(self.url)
        )


def _proxy(url: HttpUrl) -> str | None:
    """What the environment names (HTTPS_PROXY, NO_PROXY and so on) for the way to `url`."""
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)


_FILE = TypeAdapter(list[Judge])


def read_judges(path: Path | None) -> dict[str, Judge]:
    """By `judge/NAME`. Raises OSError, yaml.YAMLError, or ValidationError (a ValueError)."""
    if path is None:
        return {}
    judges = _FILE.validate_python(yaml.safe_load(path.read_bytes()))
    return {PREFIX + judge.name: judge for judge in judges}
