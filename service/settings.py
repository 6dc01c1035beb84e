"""The environment, read once into one frozen object."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.contracts.keep_alive import KeepAlive

LogStyle = Literal["text", "json"]


class Settings(BaseModel):
    """Every field is an environment variable: POLYMERGE_ and the name in capitals; REDIS_URL as it is.

    A variable that is empty counts as unset.
    """

    model_config = ConfigDict(frozen=True)

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    """REDIS_URL, or the content of the file REDIS_URL_FILE, which keeps a password out of the environment."""
    data: Path = Path(".polymerge")
    """Models, logs and the embedded Redis live here."""
    sources: Path | None = None
    """Root of what POST /models may import; `data`/sources when unset."""
    store: str | None = None
    """The model store: a folder, or s3://BUCKET/PREFIX, with copies in `data`/store. Unset: `data`/store."""
    store_quota_bytes: int | None = Field(default=None, ge=0)
    """What models, trash and work under way may take."""
    free_floor_bytes: int = Field(default=1024**3, ge=0)
    """Merges and imports leave so much of the store's disk free."""
    languages: Path | None = None
    """A folder with more language profiles (*.json), read beside the built-in ones."""
    default_model: str | None = None
    """Id or alias that answers when a request names no model, or only a language (`@fr`)."""
    judges: Path | None = None
    """A YAML file with the judges that may be asked (service/answering/judges.py)."""
    hub_push: bool = False
    """Whether models may be pushed to the Hugging Face hub, with the HF_TOKEN that workers have."""
    host: str = "127.0.0.1"
    port: int = 8000
    log: LogStyle = "text"
    """How every part writes its log."""
    auth: Literal["auto", "on", "off"] = "auto"
    """Whether requests need an API key; auto: beyond loopback, and wherever keys were made."""
    keys_file: Path | None = None
    """What `polymerge keys` writes; `data`/keys.json when unset."""
    merge_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    shard_bytes: int = Field(default=5 * 10**9, ge=1)
    """Of weights in one file that a merge writes, at most."""
    device: str = "auto"
    """Where merges compute: cpu, cuda, or auto."""
    max_model_len: int = Field(default=2048, ge=16)
    """Context that engines are started with, at most what the model allows."""
    engine_host: str = "127.0.0.1"
    """Where engines listen and the gateway finds them. Nothing guards the port: a private network at most."""
    engine_memory_bytes: int = Field(default=512 * 1024 * 1024, ge=1)
    """KV cache of a CPU engine."""
    serve_memory_bytes: int | None = Field(default=None, ge=1)
    """For all engines of one serve worker; unset: most of what is available when it starts."""
    keep_alive: KeepAlive = 1800.0
    """How long a model stays loaded after its last request: seconds or a duration as 5m; -1: for ever."""
    engine_start_seconds: float = 600.0
    generate_timeout_seconds: float = 600.0
    """How long a request waits for an engine to have its model."""
    max_queued_jobs: int = Field(default=1000, ge=1)
    """Jobs queued or running; a request for one more gets 429."""
    job_timeout_seconds: float = Field(default=6 * 3600.0, gt=0)
    """Of one attempt at a job, where the request says nothing else."""
    max_body_bytes: int = Field(default=8 * 1024**2, ge=1024)
    """Of any request; a recipe has at most 256 KiB."""
    max_requests: int = Field(default=512, ge=1)
    """Requests to models that one gateway holds, waiting or answered; more get 429."""
    retry_after_seconds: int = Field(default=5, ge=1)
    """When those that got 429 are told to come back."""
    switch_after_seconds: float = 2.0
    """How long a model keeps a busy engine while another is asked for; longer where changes are slow."""

    @property
    def sources_root(self) -> Path:
        return self.sources or self.data / "sources"

    @property
    def store_root(self) -> Path:
        return self.data / "store" if self.store is None or self.store_bucket else Path(self.store)

    @property
    def store_bucket(self) -> str | None:
        return self.store if self.store and self.store.startswith("s3://") else None

    @property
    def keys_path(self) -> Path:
        return self.keys_file or self.data / "keys.json"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises pydantic's ValidationError, which names the variable's field, on a bad value; OSError."""
        values = {
            name: value
            for name in cls.model_fields
            if (value := environment.get("REDIS_URL" if name == "redis_url" else f"POLYMERGE_{name.upper()}"))
        }
        if file := environment.get("REDIS_URL_FILE"):
            values["redis_url"] = Path(file).read_text().strip()
        settings = cls.model_validate(values)
        folder = settings.store is not None and settings.store_bucket is None
        store = str(settings.store_root.resolve()) if folder else settings.store
        return settings.model_copy(update={"data": settings.data.resolve(), "store": store})
