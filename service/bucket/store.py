"""The model store in a bucket, with copies in a folder of each host.

manifests.py and blobs.py are what is in the bucket, copies.py what is in the folder. Beside them the bucket
has aliases/, alias-history/, notes/ and damage/: service/models/annotations.py.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from service.bucket.blobs import Blobs, blob
from service.bucket.copies import Copies
from service.bucket.manifests import Manifests
from service.bucket.objects import Objects
from service.bucket.small_objects import SmallObjects
from service.contracts.model import Manifest
from service.models.annotations import Annotations
from service.models.intact import Damaged, read_through
from service.models.store import Store, folder_bytes
from service.models.watching import UNWATCHED, Watching

_ORPHANED = timedelta(days=1)


class BucketStore(Store):
    """What a Store does; everything raises BucketAway besides."""

    def __init__(self, root: Path, objects: Objects, orphaned: timedelta = _ORPHANED) -> None:
        super().__init__(root)
        self._manifests = Manifests(objects)
        self._blobs = Blobs(objects, orphaned)
        self._copies = Copies(root, self.staging, self._blobs)
        self.annotations = Annotations(SmallObjects(objects))

    def commit(self, staging: Path, manifest: Manifest, watch: Watching = UNWATCHED) -> Path:
        damaged = self.annotations.damage(manifest.id) is not None
        root = "virtual" if manifest.virtual else "models"
        self._blobs.send(staging, manifest, damaged, watch)
        if damaged:
            self._manifests.trash(root, manifest.id)
            self._copies.drop(manifest.id)
        if self._manifests.publish(root, manifest):
            # Copies of what had this id before it was deleted, on another host perhaps.
            self._copies.drop_written(manifest.id)
        else:
            there = self._manifests.read(root, manifest.id)
            if there.files != manifest.files:
                # Made at the same time on another kind of device, equal to rounding: that one is the model.
                self.discard(staging.name)
                return self.path(manifest.id)
            manifest = there
        if damaged:
            self.annotations.set_damage(manifest.id, None)
        return super().commit(staging, manifest)

    def fetch(self, model_id: str, watch: Watching = UNWATCHED) -> Path:
        return self._copies.bring(self._manifests.read_model(model_id), watch)

    def path(self, model_id: str) -> Path:
        """A folder with the model's files, perhaps without its weights: fetch() brings those."""
        found = self._copies.find(model_id)
        return found or self._copies.bring_light(self._manifests.read_model(model_id))

    def file(self, model_id: str, name: str) -> Path:
        path = self.path(model_id) / name
        if not path.is_file():
            self._copies.bring_file(self.manifest(model_id), path)
        return path

    def drop_copy(self, model_id: str) -> bool:
        self._copies.drop(model_id)
        return True

    def has(self, model_id: str) -> bool:
        return self.written(model_id) or self._manifests.size("virtual", model_id) is not None

    def written(self, model_id: str) -> bool:
        return self._manifests.size("models", model_id) is not None

    def manifest(self, model_id: str) -> Manifest:
        return self._copies.manifest(model_id) or self._manifests.read_model(model_id)

    def manifests(self) -> Iterator[Manifest]:
        written = self._manifests.names("models")
        places = [("models", name) for name in sorted(written)]
        places += [("virtual", name) for name in sorted(self._manifests.names("virtual") - written)]
        # One that is gone since they were listed is no model any more.
        return (found for found in self._manifests.read_all(places) if found)

    def audit(self, manifest: Manifest) -> None:
        """Read the bucket's files through; a copy here that is not as it should be is dropped."""
        for name in manifest.files:
            for _ in self._blobs.stream(manifest, name):
                pass
        copy = self._models / manifest.id
        if copy.exists():
            try:
                read_through(manifest, copy)
            except (Damaged, OSError):
                self._copies.drop(manifest.id)

    def remove(self, model_id: str) -> None:
        for root in ("virtual", "models"):
            self._manifests.trash(root, model_id)
        self._copies.drop(model_id)

    def restore(self, model_id: str) -> bool:
        for name in reversed(self.trashed()):
            if name.split(".")[2] == model_id:
                self._manifests.restore(name)
        return self.has(model_id)

    def trashed(self) -> list[str]:
        return sorted(self._manifests.names("trash"))

    def trash_bytes(self, name: str) -> int:
        """Of the manifest: the files are orphans when it is gone, unless others have them too."""
        return self._manifests.size("trash", name) or 0

    def empty_trash(self, name: str) -> None:
        self._manifests.delete("trash", name)

    def orphans(self) -> Iterator[tuple[str, int]]:
        """In the bucket, and copies here of models that are gone."""
        # Listed before the models are: one that comes in between has renewed what it found.
        old = self._blobs.old()
        names = {root: self._manifests.names(root) for root in ("models", "virtual", "trash")}
        found = list(self._manifests.read_all((root, name) for root in names for name in names[root]))
        # A manifest that was moved just now may be where it was not looked for: better next time.
        if None not in found:
            used = {blob(entry) for manifest in found if manifest for entry in manifest.files.values()}
            yield from ((item.key, item.size) for item in old if item.key not in used)
        yield from ((upload, 0) for upload in self._blobs.broken_off())
        for copy in self._copies.all():
            if copy.name not in names["models"] | names["virtual"] and not self.has(copy.name):
                yield f"{copy.parent.name}/{copy.name}", folder_bytes(copy)

    def reclaim(self, path: str) -> None:
        root, _, name = path.partition("/")
        if root in ("blobs", "uploads"):
            self._blobs.reclaim(path)
        else:
            self._copies.drop(name)

    def used_bytes(self) -> int:
        """In this host's folder."""
        return super().used_bytes() + folder_bytes(self.root / "light")
