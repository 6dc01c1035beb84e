"""The model store in a bucket, with copies in a folder of each host.

    blobs/<sha256>               the files of all models, each content once
    models/<id>/manifest.json    written last, and only if there is none: the model is there when it is
    virtual/<id>/manifest.json   the same of virtual models
    trash/<time>.<root>.<id>/manifest.json
    aliases/, alias-history/, notes/, damage/   what may change: service/annotations.py

Because files are named by their content, writers never disturb each other, and what was sent before a crash
is not sent again. The folder has models/ and virtual/ as a store of its own would, for engines and merges map
files; and light/, models without their weights, for those who only want to know about them.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.annotations import Annotations
from service.bucket.copies import alone, blob, bring
from service.bucket.objects import Found, Objects
from service.bucket.small_objects import SmallObjects
from service.contracts.model import Manifest
from service.intact import Damaged, read_through
from service.small_files import sync
from service.store import MANIFEST, STAMP, Store, folder_bytes
from service.watching import UNWATCHED, Watching

_ROOTS = ("models", "virtual")
_AT_ONCE = 16
"""Manifests that are read at a time."""
_ORPHANED = timedelta(days=1)
"""So old is a file that no model has before it is deleted: one that is just being made may be about to."""


class BucketStore(Store):
    """What a Store does, and raises BucketAway besides."""

    def __init__(self, root: Path, objects: Objects, orphaned: timedelta = _ORPHANED) -> None:
        super().__init__(root)
        self._light, self._locks = root / "light", root / "locks"
        self._light.mkdir(exist_ok=True)
        self._objects, self._orphaned = objects, orphaned
        self.annotations = Annotations(SmallObjects(objects))

    def commit(self, staging: Path, manifest: Manifest, watch: Watching = UNWATCHED) -> Path:
        damaged = self.annotations.damage(manifest.id) is not None
        root = "virtual" if manifest.virtual else "models"
        self._upload(staging, manifest, damaged, watch)
        if damaged:
            self._bin(root, manifest.id)
        content = manifest.model_dump_json(indent=1, by_alias=True).encode()
        if self._objects.put_new(_key(root, manifest.id), content):
            self._drop(self.root / root, manifest.id)
        else:
            there = self._kept(root, manifest.id)
            if there.files != manifest.files:
                # Made at the same time on another kind of device, equal to rounding: that one is the model.
                self.discard(staging.name)
                return self.path(manifest.id)
            manifest = there
        self._drop(self._light, manifest.id)
        if damaged:
            self.annotations.set_damage(manifest.id, None)
        return super().commit(staging, manifest)

    def fetch(self, model_id: str, watch: Watching = UNWATCHED) -> Path:
        manifest = self._described(model_id)
        target = self.root / ("virtual" if manifest.virtual else "models") / model_id
        self._bring(manifest, manifest.files, target, watch)
        return target

    def drop_copy(self, model_id: str) -> bool:
        for root in (self._models, self._virtual, self._light):
            self._drop(root, model_id)
        return True

    def path(self, model_id: str) -> Path:
        """A folder with the model's files, perhaps without its weights: fetch() brings those."""
        for root in (self._models, self._virtual, self._light):
            if (root / model_id / MANIFEST).is_file():
                return root / model_id
        manifest = self._described(model_id)
        if manifest.virtual or manifest.weights == "adapter":
            return self.fetch(model_id)
        names = [name for name in manifest.files if not name.endswith(".safetensors")]
        self._bring(manifest, names, self._light / model_id, UNWATCHED)
        return self._light / model_id

    def file(self, model_id: str, name: str) -> Path:
        found = self.path(model_id) / name
        if not found.is_file():
            manifest = self.manifest(model_id)
            with alone(self._locks / model_id):
                work = self.staging(f"fetch-{model_id}-{manifest.files[name].sha256}")
                if not found.is_file():
                    bring(self._objects, manifest, [name], work, lambda _: None)
                    os.replace(work / name, found)
                    work.rmdir()
        return found

    def has(self, model_id: str) -> bool:
        return any(self._objects.find(_key(root, model_id)) for root in _ROOTS)

    def written(self, model_id: str) -> bool:
        return self._objects.find(_key("models", model_id)) is not None

    def manifest(self, model_id: str) -> Manifest:
        for root in (self._models, self._light):
            with suppress(FileNotFoundError):
                return Manifest.model_validate_json((root / model_id / MANIFEST).read_bytes())
        return self._described(model_id)

    def manifests(self) -> Iterator[Manifest]:
        written = self._listed("models")
        keys = [_key("models", model_id) for model_id in written]
        keys += [_key("virtual", model_id) for model_id in self._listed("virtual") - written]
        # One that is gone since they were listed is no model any more.
        return (found for found in self._read_all(sorted(keys)) if found)

    def audit(self, manifest: Manifest) -> None:
        """Read the bucket's files through; a copy here that is not as it should be is dropped."""
        for name, entry in manifest.files.items():
            digest = hashlib.sha256()
            try:
                for chunk in self._objects.stream(blob(entry.sha256)):
                    digest.update(chunk)
            except FileNotFoundError:
                raise Damaged(manifest.id, f"{name} is missing in the bucket") from None
            if digest.hexdigest() != entry.sha256:
                raise Damaged(manifest.id, f"{name} has other bytes in the bucket than it had")
        copy = self._models / manifest.id
        if copy.exists():
            try:
                read_through(manifest, copy)
            except (Damaged, OSError):
                self.drop_copy(manifest.id)

    def remove(self, model_id: str) -> None:
        for root in ("virtual", "models"):
            self._bin(root, model_id)
        self.drop_copy(model_id)

    def restore(self, model_id: str) -> bool:
        for name in reversed(self.trashed()):
            _, root, owner = name.split(".")
            if owner == model_id:
                content = self._objects.get(_key("trash", name))
                if self._objects.put_new(_key(root, model_id), content):
                    self._objects.delete(_key("trash", name))
        return self.has(model_id)

    def trashed(self) -> list[str]:
        return sorted(self._listed("trash"))

    def trash_bytes(self, name: str) -> int:
        """Of the manifest: the files are orphans when it is gone, unless others have them too."""
        found = self._objects.find(_key("trash", name))
        return found.size if found else 0

    def empty_trash(self, name: str) -> None:
        self._objects.delete(_key("trash", name))

    def orphans(self) -> Iterator[tuple[str, int]]:
        before = datetime.now(UTC) - self._orphaned
        # Listed before the models are: a model that comes in between has renewed what it found here.
        old = [found for found in self._objects.below("blobs/") if found.changed_at <= before]
        models = {root: self._listed(root) for root in (*_ROOTS, "trash")}
        described = list(self._read_all(_key(root, name) for root in models for name in models[root]))
        used = {blob(entry.sha256) for found in described if found for entry in found.files.values()}
        # A manifest that was just moved may be where it was not looked for: better next time.
        if None not in described:
            yield from ((found.key, found.size) for found in old if found.key not in used)
        for key, upload, begun_at in self._objects.unfinished():
            if begun_at <= before:
                yield f"uploads/{key}/{upload}", 0
        for path in (*self._models.iterdir(), *self._virtual.iterdir(), *self._light.iterdir()):
            if path.name not in models["models"] | models["virtual"] and not self.has(path.name):
                yield f"{path.parent.name}/{path.name}", folder_bytes(path)

    def reclaim(self, path: str) -> None:
        root, _, name = path.partition("/")
        if root == "blobs":
            self._objects.delete(path)
        elif root == "uploads":
            self._objects.abort(*name.rsplit("/", 1))
        else:
            shutil.rmtree(self.root / path, ignore_errors=True)

    def used_bytes(self) -> int:
        """In this host's folder."""
        return super().used_bytes() + folder_bytes(self._light)

    def _upload(self, staging: Path, manifest: Manifest, again: bool, watch: Watching) -> None:
        """Files that the bucket has are not sent, unless they might be damaged, or taken for orphans soon."""
        missing = {
            name: entry
            for name, entry in manifest.files.items()
            if again or not self._is_safe(self._objects.find(blob(entry.sha256)), entry.size)
        }
        if missing:
            watch.expect(sum(entry.size for entry in missing.values()))

        def sent(count: int) -> None:
            watch.check()
            watch.add(count)

        for name, entry in missing.items():
            self._objects.upload(staging / name, blob(entry.sha256), entry.sha256, sent)

    def _is_safe(self, found: Found | None, size: int) -> bool:
        if found is None or found.size != size:
            return False
        return datetime.now(UTC) - found.changed_at < self._orphaned / 2

    def _bring(self, manifest: Manifest, names: Iterable[str], target: Path, watch: Watching) -> None:
        """The files into `target`, the manifest last; a copy of what was the model before is replaced."""
        with alone(self._locks / manifest.id):
            if _is_copy(target, manifest):
                return
            self._drop(target.parent, manifest.id)
            names = list(names)
            watch.expect(sum(manifest.files[name].size for name in names))

            def read(count: int) -> None:
                watch.check()
                watch.add(count)

            # Named by the content too: files that are there from before must be this model's.
            work = self.staging(f"fetch-{target.parent.name}-{manifest.id}-{manifest.content_digest or ''}")
            bring(self._objects, manifest, names, work, read)
            (work / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True))
            sync(work / MANIFEST)
            sync(work)
            os.replace(work, target)

    def _described(self, model_id: str) -> Manifest:
        """As the bucket has it: the written model if there is one. Raises FileNotFoundError."""
        with suppress(FileNotFoundError):
            return self._kept("models", model_id)
        return self._kept("virtual", model_id)

    def _kept(self, root: str, model_id: str) -> Manifest:
        return Manifest.model_validate_json(self._objects.get(_key(root, model_id)))

    def _listed(self, root: str) -> set[str]:
        keys = (found.key for found in self._objects.below(f"{root}/"))
        return {key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")}

    def _read_all(self, keys: Iterable[str]) -> Iterator[Manifest | None]:
        """None for one that is gone. Raises pydantic's ValidationError: who deletes by this must know all."""

        def read(key: str) -> Manifest | None:
            with suppress(FileNotFoundError):
                return Manifest.model_validate_json(self._objects.get(key))
            return None

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            yield from threads.map(read, keys)

    def _drop(self, root: Path, model_id: str) -> None:
        """Whoever has files of it open can go on."""
        shutil.rmtree(root / model_id, ignore_errors=True)

    def _bin(self, root: str, model_id: str) -> None:
        try:
            content = self._objects.get(_key(root, model_id))
        except FileNotFoundError:
            return
        stamp = datetime.now(UTC).strftime(STAMP)
        self._objects.put(_key("trash", f"{stamp}.{root}.{model_id}"), content)
        self._objects.delete(_key(root, model_id))


def _key(root: str, name: str) -> str:
    return f"{root}/{name}/{MANIFEST}"


def _is_copy(folder: Path, manifest: Manifest) -> bool:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes()) == manifest
    except (OSError, ValueError):
        return False
