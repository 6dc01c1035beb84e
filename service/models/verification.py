"""Reads models through, and takes those out of service whose files are not as they were."""

from service.contracts.model import Verification
from service.models.registry import Registry
from service.models.store import MANIFEST, Store


def verify(registry: Registry, model_id: str) -> Verification:
    """Compare every byte of the model with its manifest; the state that follows is recorded."""
    damage = find_damage(registry.store, model_id)
    registry.set_damage(model_id, damage)
    model = registry.get(model_id)
    return Verification(model=model_id, state=model.state, damage=damage, size_bytes=model.size_bytes)


def find_damage(store: Store, model_id: str) -> str | None:
    """In one line. Raises BucketAway, which says nothing about the model."""
    try:
        manifest = store.manifest(model_id)
    except ConnectionError:
        raise
    except (OSError, ValueError):
        return f"model {model_id} is damaged: {MANIFEST} is missing or can't be read"
    try:
        store.audit(manifest)
    except ConnectionError:
        raise
    except OSError as error:
        return f"model {model_id} is damaged: a file can't be read: {error.strerror}"
    except ValueError as error:
        return str(error)
    return None
