"""Before a merge or an engine touches a model: are its files all there, as long as they were?

A reload that breaks off halfway leaves the engine without weights, so that whatever can be known before is.
"""

from pathlib import Path

from service.contracts.model import Manifest
from service.store import Store


def check_whole(store: Store, model_id: str) -> None:
    """The model's files, and those of all that it is made of: an adapter's base, a virtual model's sources.

    Raises ValueError naming the first file, or the model, that is missing or is not as it was.
    """
    try:
        manifest = store.manifest(model_id)
    except FileNotFoundError:
        raise ValueError(f"model {model_id} is gone from the store") from None
    check_intact(manifest, store.path(model_id))
    parts = manifest.sources if manifest.virtual else [manifest.base] if manifest.base else []
    for part in parts:
        check_whole(store, part)


def check_intact(manifest: Manifest, folder: Path) -> None:
    """Raises ValueError naming the first file that is missing or has another size than in the manifest."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"model {manifest.id} is damaged: {name} is missing")
        if path.stat().st_size != entry.size:
            found = path.stat().st_size
            raise ValueError(f"model {manifest.id} is damaged: {name} has {found} bytes, not {entry.size}")
