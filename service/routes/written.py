"""Models whose files can be handed out."""

from service.contracts.model import Manifest
from service.errors import ProblemError
from service.parts import Parts


def written(parts: Parts, reference: str) -> Manifest:
    """Raises UnknownModel, DamagedModel, and ProblemError (409) for a virtual model."""
    manifest = parts.store.manifest(parts.registry.usable(reference))
    if manifest.virtual:
        detail = (
            f"model {manifest.id} is virtual: write it first, with POST /models/{manifest.id}/materialize"
        )
        raise ProblemError(409, "not-written", detail)
    return manifest
