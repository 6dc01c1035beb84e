"""Engines: the running vLLM servers, as their workers report them and GET /engines shows them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from service.contracts.names import ModelId

EngineState = Literal["loading", "ready", "draining", "idle", "stopping"]


class Engine(BaseModel):
    """One vLLM server.

    `state` loading: `model` is being loaded. ready: `model` is served at `url`. draining: requests for
    `model` end, then `next_model` is loaded, or the engine stops. idle: runs, with no model that works.
    """

    id: str
    worker: str
    state: EngineState
    model: ModelId | None = None
    next_model: ModelId | None = None
    fingerprint: str
    """Models of the same fingerprint differ in their weights only: the engine can swap to them in place."""
    memory_bytes: int
    """Measured once a model is loaded, estimated before."""
    url: str | None = None
    max_model_len: int | None = None
    pid: int | None = None
    ready_at: datetime | None = None
    """Since when `model` is served."""
    start_seconds: float | None = None
    """From the start of vLLM to its first answer."""
    swaps: int = 0
    swap_seconds: list[float] = []
    """How long the last swaps took, newest last."""
    last_load_seconds: float | None = None
    """How long `model` took to load, by start or swap."""
    heartbeat_at: datetime
    leases: int = 0
    """Requests that are running."""
    waiting: int = 0
    """Requests for `model` that have not come in yet."""
    last_used_at: datetime | None = None
    keep_alive: float | None = None
    """What the last request asked for, in seconds; null: the worker's default; -1: for ever."""
    pinned: bool = False


class ServeWorker(BaseModel):
    """A process that runs engines within a memory budget."""

    name: str
    """host:pid"""
    memory_budget_bytes: int
    cores: int
    keep_alive: float
    """How long models stay where a request doesn't say: seconds, -1 for ever."""


class WaitingModel(BaseModel):
    """A model that requests wait for."""

    model: ModelId
    requests: int
    since: datetime


class LoadFailure(BaseModel):
    """Why a model could not be loaded the last time it was tried."""

    model: ModelId
    reason: str
    at: datetime


class EnginePage(BaseModel):
    """GET /engines: what serves, what waits, and what went wrong."""

    items: list[Engine] = []
    workers: list[ServeWorker] = []
    queue: list[WaitingModel] = []
    """The longest-waiting first."""
    pins: list[ModelId] = []
    failures: list[LoadFailure] = []


class Pin(BaseModel):
    """A model that is loaded as soon as there is room, and neither evicted nor unloaded."""

    model: ModelId


class Readiness(BaseModel):
    """GET /readyz. `detail` says what is missing."""

    merge: bool
    generate: bool
    redis: bool
    detail: list[str] = []
