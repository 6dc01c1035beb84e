"""API keys, the file that holds them, and the lines of the audit log."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Scope = Literal["read", "generate", "merge", "admin"]
"""read: look at everything; generate: ask models; merge: import, merge, name, annotate; admin: all of it."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
KeyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class ApiKey(BaseModel):
    """What is kept of a key. The secret, `pm_<id>_<256 random bits>`, is kept by whoever asks with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: KeyId
    name: KeyName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Of the whole secret, in hex."""
    scopes: frozenset[Scope] = Field(min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    concurrent_requests: int | None = Field(default=None, ge=1)
    created_at: AwareDatetime
    created_by: str
    """Who ran the command, on which machine."""
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    revoked_by: str | None = None

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class KeyFile(BaseModel):
    """Revoked and expired keys stay in it, so that the ids in the audit log keep their meaning."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []


class AuditEntry(BaseModel):
    """One request for a change, whatever became of it. Nothing of its body, query or headers is kept."""

    time: AwareDatetime
    request_id: str | None
    key_id: KeyId | None
    """None: the gateway asks for no keys."""
    key_name: KeyName | None
    method: str
    path: str
    status: int | None
    """None: interrupted before its answer began."""
    concerns: list[str]
    """Ids of the jobs and models in the answer."""
    address: str | None
    """Of the client, or of the proxy before it."""
