"""The model store: immutable folders, each the record of one model.

    models/<id>/    Hugging Face layout and manifest.json, present only when complete
    virtual/<id>/   the same without weights: a merge that is computed whenever an engine loads it
    staging/<work>/ work under way
    trash/          models that were deleted, until `gc`
    aliases/, alias-history/, notes/, damage/   what may change: service/models/annotations.py

A model is written into staging, its manifest last, everything synced, and renamed into place: it is there
whole or not at all. Ids follow from recipe or content, so committing the same model twice is harmless.
A virtual model that gets written keeps its folder in virtual/, hidden by the one in models/: there is no
moment without the model, and an engine that is just reading the virtual one can go on.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from service.contracts.model import Manifest
from service.models.annotations import Annotations
from service.models.intact import read_through
from service.models.small_files import FilesInFolder, sync
from service.models.watching import UNWATCHED, Watching

MANIFEST = "manifest.json"
STAMP = "%Y%m%dT%H%M%S%f"

log = logging.getLogger("polymerge.store")


class Store:
    """Paths are built from validated ids and aliases only.

    The folder is all there is of this one; service/bucket has one whose folder holds copies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models, self._virtual = root / "models", root / "virtual"
        self._staging, self.trash = root / "staging", root / "trash"
        for folder in (self._models, self._virtual, self._staging, self.trash):
            folder.mkdir(parents=True, exist_ok=True)
        self.annotations = Annotations(FilesInFolder(root, self._staging))

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
        path = self.staging(work)
        path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)

    def commit(self, staging: Path, manifest: Manifest, watch: Watching = UNWATCHED) -> Path:
        """Publish `staging` under the manifest's id; if that model exists, the new copy is dropped.

        A damaged one is replaced.
        """
        (staging / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True))
        for path in staging.iterdir():
            sync(path)
        sync(staging)
        root = self._virtual if manifest.virtual else self._models
        target = root / manifest.id
        damaged = self.annotations.damage(manifest.id) is not None
        if damaged:
            self._move_to_trash(target)
        try:
            staging.rename(target)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
            shutil.rmtree(staging, ignore_errors=True)
        sync(root)
        if damaged:
            self.annotations.set_damage(manifest.id, None)
        return target

    def path(self, model_id: str) -> Path:
        """The model's folder: the written one if there is one."""
        if not self.written(model_id) and (self._virtual / model_id / MANIFEST).is_file():
            return self._virtual / model_id
        return self._models / model_id

    def fetch(self, model_id: str, watch: Watching = UNWATCHED) -> Path:
        """The model's folder with all its files, for who maps them: brought here if they are elsewhere.

        Raises FileNotFoundError.
        """
        return self.path(model_id)

    def file(self, model_id: str, name: str) -> Path:
        """One of the model's files, brought here if it is elsewhere."""
        return self.path(model_id) / name

    def drop_copy(self, model_id: str) -> bool:
        """Have the next fetch() bring the model anew; False where nothing but the folder has it."""
        return False

    def audit(self, manifest: Manifest) -> None:
        """Read all that is kept of the model through. Raises Damaged, OSError."""
        read_through(manifest, self.path(manifest.id))

    def has(self, model_id: str) -> bool:
        """Whether the model is there, written or virtual."""
        return (self.path(model_id) / MANIFEST).is_file()

    def written(self, model_id: str) -> bool:
        """Whether the model is there with its weights."""
        return (self._models / model_id / MANIFEST).is_file()

    def sound(self, model_id: str) -> bool:
        """Whether the model is there with its weights, and no damage to it is known."""
        return self.written(model_id) and self.annotations.damage(model_id) is None

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

    def remove(self, model_id: str) -> None:
        """Out of sight, into the trash. Engines and merges that have its files open can go on."""
        for root in (self._virtual, self._models):
            self._move_to_trash(root / model_id)

    def restore(self, model_id: str) -> bool:
        """Bring back what was removed last; False when nothing of the model is in the trash."""
        for name in reversed(self.trashed()):
            _, root, owner = name.split(".")
            target = self.root / root / model_id
            if owner == model_id and not target.exists():
                (self.trash / name).rename(target)
                sync(target.parent)
        return self.has(model_id)

    def trashed(self) -> list[str]:
        """Folders in the trash, oldest first: TIME.ROOT.ID."""
        return sorted(folder.name for folder in self.trash.iterdir())

    def trashed_at(self, name: str) -> datetime:
        return datetime.strptime(name.split(".")[0], STAMP).replace(tzinfo=UTC)

    def trash_bytes(self, name: str) -> int:
        """What empty_trash() frees."""
        return folder_bytes(self.trash / name)

    def empty_trash(self, name: str) -> None:
        """Delete for good what trashed() lists under this name."""
        shutil.rmtree(self.trash / name, ignore_errors=True)

    def orphans(self) -> Iterator[tuple[str, int]]:
        """Paths and sizes of what is kept and belongs to no model. In a folder nothing is kept but models."""
        return iter(())

    def reclaim(self, path: str) -> None:
        """Delete what orphans() lists under this path."""
        raise FileNotFoundError(path)

    def used_bytes(self) -> int:
        """On disk, by models, trash and work under way. Files that models share count for each."""
        roots = (self._models, self._virtual, self.trash, self._staging)
        return sum(folder_bytes(root) for root in roots)

    def _move_to_trash(self, folder: Path) -> None:
        if folder.exists():
            stamp = datetime.now(UTC).strftime(STAMP)
            folder.rename(self.trash / f"{stamp}.{folder.parent.name}.{folder.name}")
            sync(folder.parent)


def folder_bytes(folder: Path) -> int:
    """Of all files below it; what vanishes meanwhile has none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
