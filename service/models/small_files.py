"""Small files that change: where aliases point, what people note about models. Each is whole or not there.

The models themselves never change, and are kept by the store.
"""

import os
import tempfile
from pathlib import Path
from typing import Protocol


class SmallFiles(Protocol):
    """By keys such as `aliases/best`: a folder, and a name that was validated."""

    def read(self, key: str) -> str | None: ...

    def write(self, key: str, content: str) -> None:
        """In one step, over what was there."""
        ...

    def remove(self, key: str) -> None:
        """One that is not there is removed already."""
        ...

    def names(self, folder: str) -> list[str]:
        """The keys in a folder, without the folder; sorted."""
        ...


class FilesInFolder:
    """Under `root`; they are written in `staging`, which is on the same file system."""

    def __init__(self, root: Path, staging: Path) -> None:
        self._root, self._staging = root, staging

    def read(self, key: str) -> str | None:
        try:
            return (self._root / key).read_text()
        except FileNotFoundError:
            return None

    def write(self, key: str, content: str) -> None:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._staging)
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync(target.parent)

    def remove(self, key: str) -> None:
        target = self._root / key
        target.unlink(missing_ok=True)
        if target.parent.is_dir():
            sync(target.parent)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(path.name for path in (self._root / folder).iterdir())
        except FileNotFoundError:
            return []


def sync(path: Path) -> None:
    """Onto the disk: a file's content, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
