"""Copies of a bucket's models in a host's folder.

    models/<id>/  virtual/<id>/   whole, for engines and merges map files
    light/<id>/                   without weights, for those who only want to know about a model

A copy has its manifest, written last, and is renamed into place.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from service.bucket.blobs import Blobs
from service.contracts.model import Manifest
from service.models.small_files import sync
from service.models.store import MANIFEST
from service.models.watching import UNWATCHED, Watching

_AT_ONCE = 4
"""Files that are brought at a time."""


class Copies:
    """`staging` is where work of a name is. Raises BucketAway, Damaged, OSError."""

    def __init__(self, root: Path, staging: Callable[[str], Path], blobs: Blobs) -> None:
        self._models, self._virtual, self._light = (root / name for name in ("models", "virtual", "light"))
        self._light.mkdir(exist_ok=True)
        self._locks, self._staging, self._blobs = root / "locks", staging, blobs

    def find(self, model_id: str) -> Path | None:
        """The most that is here of the model."""
        folders = (root / model_id for root in (self._models, self._virtual, self._light))
        return next((folder for folder in folders if (folder / MANIFEST).is_file()), None)

    def manifest(self, model_id: str) -> Manifest | None:
        """Of a written model: a virtual one may have been written elsewhere meanwhile."""
        for root in (self._models, self._light):
            with suppress(FileNotFoundError):
                return _read(root / model_id)
        return None

    def bring(self, manifest: Manifest, watch: Watching = UNWATCHED) -> Path:
        """All of the model."""
        root = self._virtual if manifest.virtual else self._models
        return self._bring(manifest, manifest.files, root / manifest.id, watch)

    def bring_light(self, manifest: Manifest) -> Path:
        """All but the weights; those of an adapter are few, and planning reads them."""
        if manifest.virtual or manifest.weights == "adapter":
            return self.bring(manifest)
        names = [name for name in manifest.files if not name.endswith(".safetensors")]
        return self._bring(manifest, names, self._light / manifest.id, UNWATCHED)

    def bring_file(self, manifest: Manifest, path: Path) -> None:
        """One file more into a copy."""
        with self._alone(manifest.id):
            if not path.is_file():
                self._blobs.bring(manifest, path.name, path, lambda _: None)

    def drop(self, model_id: str) -> None:
        """Whoever has files of it open can go on."""
        self.drop_written(model_id)
        shutil.rmtree(self._virtual / model_id, ignore_errors=True)

    def drop_written(self, model_id: str) -> None:
        """All but a virtual model's copy, which an engine may just be reading."""
        for root in (self._models, self._light):
            shutil.rmtree(root / model_id, ignore_errors=True)

    def all(self) -> Iterator[Path]:
        for root in (self._models, self._virtual, self._light):
            yield from root.iterdir()

    def _bring(self, manifest: Manifest, names: Iterable[str], target: Path, watch: Watching) -> Path:
        with self._alone(manifest.id):
            if not _is_of(target, manifest):
                shutil.rmtree(target, ignore_errors=True)
                # Named by the content too: files that are there from before must be this model's.
                work = self._staging(f"{target.parent.name}-{manifest.id}-{manifest.content_digest or ''}")
                work.mkdir(exist_ok=True)
                self._fill(work, manifest, list(names), watch)
                work.rename(target)
        return target

    def _fill(self, folder: Path, manifest: Manifest, names: list[str], watch: Watching) -> None:
        watch.expect(sum(manifest.files[name].size for name in names))

        def read(count: int) -> None:
            watch.check()
            watch.add(count)

        def bring(name: str) -> None:
            if (folder / name).is_file():
                read(manifest.files[name].size)
            else:
                self._blobs.bring(manifest, name, folder / name, read)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            try:
                list(threads.map(bring, names))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True))
        sync(folder / MANIFEST)
        sync(folder)

    @contextmanager
    def _alone(self, model_id: str) -> Iterator[None]:
        """One process of this host at a time; one that dies lets the next in."""
        self._locks.mkdir(exist_ok=True)
        with (self._locks / model_id).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_of(folder: Path, manifest: Manifest) -> bool:
    try:
        return _read(folder) == manifest
    except (OSError, ValueError):
        return False


def _read(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
