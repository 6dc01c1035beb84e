"""Records of engines and workers as serve workers publish them."""

from datetime import UTC, datetime
from typing import Any

from service.contracts.engine import Engine, EngineState, ServeWorker

MODEL, OTHER, THIRD = (f"m_00000000000000{digits}" for digits in ("aa", "bb", "cc"))


def engine(state: EngineState, model: str | None = MODEL, ident: str = "e_1", **more: Any) -> Engine:
    """On the worker host:1, unless told otherwise."""
    fields: dict[str, Any] = {
        "id": ident,
        "worker": "host:1",
        "state": state,
        "model": model,
        "fingerprint": "small",
        "memory_bytes": 3,
        "url": f"http://127.0.0.1/{ident}",
        "heartbeat_at": datetime.now(UTC),
    }
    return Engine(**fields | more)


def worker(name: str = "host:1", budget: int = 10, cores: int = 2, keep_alive: float = 300.0) -> ServeWorker:
    return ServeWorker(name=name, memory_budget_bytes=budget, cores=cores, keep_alive=keep_alive)
