"""Names that workers and gateway share: the Redis keys of board and router, the engines' name for a model."""

SERVED_NAME = "polymerge"
"""What every engine calls its model, whichever it is; the gateway puts the real id in its place."""
ENGINES = "polymerge:engines"
"""Set of engine ids; a record that has expired means the engine is gone."""
DEMAND = "polymerge:demand"
"""Sorted set: models that requests wait for, by the time of the first request."""


def record(engine_id: str) -> str:
    """Hash: state, model, and the whole record as JSON. Expires without heartbeats."""
    return f"polymerge:engine:{engine_id}"


def leases(engine_id: str) -> str:
    """Sorted set: leases by the time they expire."""
    return f"polymerge:engine:{engine_id}:leases"


def waiting(model_id: str) -> str:
    """Exists while a gateway still waits for the model."""
    return f"polymerge:demand:{model_id}"


def load_error(model_id: str) -> str:
    """Why the model could not be loaded, for a while."""
    return f"polymerge:load-error:{model_id}"
