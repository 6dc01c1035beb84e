"""Names that workers and gateway share: the Redis keys of board and router, the engines' name for a model."""

SERVED_NAME = "polymerge"
"""What every engine calls its model, whichever it is; the gateway puts the real id in its place."""
ENGINES = "polymerge:engines"
"""Set of engine ids; a record that has expired means the engine is gone."""
WORKERS = "polymerge:serve-workers"
"""Set of names of serve workers; likewise."""
DEMAND = "polymerge:demand"
"""Sorted set: models that requests wait for, by the time of the first request."""
PINS = "polymerge:pins"
"""Set of models that stay loaded."""
FAILURES = "polymerge:load-failures"
"""Hash: the last failure of each model that could not be loaded, as JSON."""


def record(engine_id: str) -> str:
    """Hash: state, model, and the whole record as JSON. Expires without heartbeats."""
    return f"polymerge:engine:{engine_id}"


def leases(engine_id: str) -> str:
    """Sorted set: leases of gateways by the time they expire."""
    return f"{record(engine_id)}:leases"


def running(engine_id: str) -> str:
    """Hash: how many requests each lease stands for; 1 where it is not said."""
    return f"{record(engine_id)}:running"


def use(engine_id: str) -> str:
    """Hash: when a request last ended on the engine, and the keep_alive that it asked for."""
    return f"{record(engine_id)}:use"


def worker(name: str) -> str:
    """The worker's record as JSON. Expires without heartbeats."""
    return f"polymerge:serve-worker:{name}"


def waiting(model_id: str) -> str:
    """Sorted set: requests that wait for the model, by the time until which they surely do."""
    return f"polymerge:demand:{model_id}"


def claim(model_id: str) -> str:
    """Which worker is about to load the model; for seconds, until its engine's record says so."""
    return f"polymerge:claim:{model_id}"


def load_error(model_id: str) -> str:
    """Why the model could not be loaded, for a while in which it is not tried again."""
    return f"polymerge:load-error:{model_id}"
