"""The files of all models in a bucket, each content once: blobs/<sha256>.

Because files are named by their content, writers never disturb each other, and what was sent before a crash
is not sent again.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.bucket.objects import Found, Objects
from service.contracts.model import FileEntry, Manifest
from service.models.intact import Damaged
from service.models.small_files import sync
from service.models.watching import Watching


class Blobs:
    """Raises BucketAway."""

    def __init__(self, objects: Objects, orphaned: timedelta) -> None:
        """A file that no model has is an orphan when it is so old: models that are being made may want it."""
        self._objects, self._orphaned = objects, orphaned

    def send(self, folder: Path, manifest: Manifest, again: bool, watch: Watching) -> None:
        """The model's files that are not there, or all of them `again`, for those there may be damaged."""
        missing = {name: entry for name, entry in manifest.files.items() if again or not self._stays(entry)}
        if missing:
            watch.expect(sum(entry.size for entry in missing.values()))

        def sent(count: int) -> None:
            watch.check()
            watch.add(count)

        for name, entry in missing.items():
            self._objects.upload(folder / name, blob(entry), entry.sha256, sent)

    def bring(self, manifest: Manifest, name: str, path: Path, read: Callable[[int], None]) -> None:
        """One of the model's files to `path`, which is there when it is whole.

        `read` hears of bytes, and may raise. Raises Damaged, OSError.
        """
        partial = path.with_name(f"{path.name}.part")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(manifest, name):
                    file.write(chunk)
                    read(len(chunk))
            sync(partial)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    def stream(self, manifest: Manifest, name: str) -> Iterator[bytes]:
        """One of the model's files; at its end it is compared. Raises Damaged."""
        digest = hashlib.sha256()
        try:
            for chunk in self._objects.stream(blob(manifest.files[name])):
                digest.update(chunk)
                yield chunk
        except FileNotFoundError:
            raise Damaged(manifest.id, f"{name} is missing in the bucket") from None
        if digest.hexdigest() != manifest.files[name].sha256:
            raise Damaged(manifest.id, f"{name} has other bytes in the bucket than it had")

    def old(self) -> list[Found]:
        """Those that are orphans unless a model has them."""
        return [found for found in self._objects.below("blobs/") if found.changed_at <= self._before(1)]

    def broken_off(self) -> Iterator[str]:
        """uploads/<key>/<id> of uploads that nobody goes on with."""
        for key, upload, begun_at in self._objects.unfinished():
            if begun_at <= self._before(1):
                yield f"uploads/{key}/{upload}"

    def reclaim(self, path: str) -> None:
        """Delete what has this key, or what broken_off() lists."""
        root, _, name = path.partition("/")
        if root == "uploads":
            self._objects.abort(*name.rsplit("/", 1))
        else:
            self._objects.delete(path)

    def _stays(self, entry: FileEntry) -> bool:
        """Whether the file is there, and will be when the model is."""
        found = self._objects.find(blob(entry))
        return found is not None and found.size == entry.size and found.changed_at > self._before(0.5)

    def _before(self, ages: float) -> datetime:
        return datetime.now(UTC) - ages * self._orphaned


def blob(entry: FileEntry) -> str:
    """The key of a file."""
    return f"blobs/{entry.sha256}"
