"""Before a merge or an engine touches a model: are its files all there, as long as they were?

A reload that breaks off halfway leaves the engine without weights, so that whatever can be known before is.
"""

from pathlib import Path

from service.contracts.model import Manifest


def check_intact(manifest: Manifest, folder: Path) -> None:
    """Raises ValueError naming the first file that is missing or has another size than in the manifest."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"model {manifest.id} is damaged: {name} is missing")
        if path.stat().st_size != entry.size:
            found = path.stat().st_size
            raise ValueError(f"model {manifest.id} is damaged: {name} has {found} bytes, not {entry.size}")
