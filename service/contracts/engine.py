"""Engines: the running vLLM servers, as their workers report them and GET /engines shows them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from service.contracts.names import ModelId

EngineState = Literal["idle", "loading", "ready", "draining", "failed"]


class Engine(BaseModel):
    """`state` ready: serves `model` at `url`. loading: is changing to `model`. idle: nothing loaded yet."""

    id: str
    worker: str
    state: EngineState
    model: ModelId | None = None
    url: str | None = None
    max_model_len: int | None = None
    pid: int | None = None
    leases: int = 0
    last_load_seconds: float | None = None
    last_error: str | None = None
    heartbeat_at: datetime


class EnginePage(BaseModel):
    items: list[Engine]


class Readiness(BaseModel):
    """GET /readyz. `detail` says what is missing."""

    merge: bool
    generate: bool
    redis: bool
    detail: list[str] = []
