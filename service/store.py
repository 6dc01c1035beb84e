"""The model store: immutable folders, each the record of one model.

    models/<id>/    Hugging Face layout and manifest.json, present only when complete
    virtual/<id>/   the same without weights: a merge that is computed whenever an engine loads it
    aliases/<name>  one line, the id
    staging/<work>/ work under way

A model is written into staging, its manifest last, everything synced, and renamed into place: it is there
whole or not at all. Ids follow from recipe or content, so committing the same model twice is harmless.
A virtual model that gets written keeps its folder in virtual/, hidden by the one in models/: there is no
moment without the model, and an engine that is just reading the virtual one can go on.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.contracts.model import Manifest

MANIFEST = "manifest.json"

log = logging.getLogger("polymerge.store")


class Store:
    """Paths are built from validated ids and aliases only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models, self._virtual = root / "models", root / "virtual"
        self._aliases, self._staging = root / "aliases", root / "staging"
        for folder in (self._models, self._virtual, self._aliases, self._staging):
            folder.mkdir(parents=True, exist_ok=True)

    def stage(self, work: str) -> Path:
        """A new folder for work of this name; one that is there is removed."""
        self.discard(work)
        folder = self.staging(work)
        folder.mkdir(parents=True)
        return folder

    def staging(self, work: str) -> Path:
        """Where work of this name is, or was."""
        return self._staging / work

    def staged(self) -> list[str]:
        """The names of all work in staging."""
        return [folder.name for folder in self._staging.iterdir() if folder.is_dir()]

    def discard(self, work: str) -> None:
        shutil.rmtree(self.staging(work), ignore_errors=True)

    def commit(self, staging: Path, manifest: Manifest) -> Path:
        """Publish `staging` under the manifest's id; if that model exists, the new copy is dropped."""
        (staging / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True))
        for path in staging.iterdir():
            _sync(path)
        _sync(staging)
        root = self._virtual if manifest.virtual else self._models
        target = root / manifest.id
        try:
            staging.rename(target)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
            shutil.rmtree(staging, ignore_errors=True)
        _sync(root)
        return target

    def path(self, model_id: str) -> Path:
        """The model's folder: the written one if there is one."""
        if not self.written(model_id) and (self._virtual / model_id / MANIFEST).is_file():
            return self._virtual / model_id
        return self._models / model_id

    def has(self, model_id: str) -> bool:
        """Whether the model is there, written or virtual."""
        return (self.path(model_id) / MANIFEST).is_file()

    def written(self, model_id: str) -> bool:
        """Whether the model is there with its weights."""
        return (self._models / model_id / MANIFEST).is_file()

    def manifest(self, model_id: str) -> Manifest:
        """Raises FileNotFoundError."""
        return Manifest.model_validate_json((self.path(model_id) / MANIFEST).read_bytes())

    def manifests(self) -> Iterator[Manifest]:
        """Of every model; one whose manifest is damaged is left out."""
        found = [*self._models.glob(f"*/{MANIFEST}"), *self._virtual.glob(f"*/{MANIFEST}")]
        for model_id in sorted({path.parent.name for path in found}):
            try:
                yield self.manifest(model_id)
            except (OSError, ValueError) as error:
                log.error("model %s is left out, its manifest can't be read: %s", model_id, error)

    def set_alias(self, name: str, model_id: str) -> None:
        """Point `name` at the model, atomically."""
        handle, temporary = tempfile.mkstemp(dir=self._staging)
        with os.fdopen(handle, "w") as file:
            file.write(model_id)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._aliases / name)
        _sync(self._aliases)

    def aliases(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in sorted(self._aliases.iterdir())}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
