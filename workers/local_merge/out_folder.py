"""Where a local merge goes: made beside its place under a hidden name, and renamed when it is whole."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.sources.checkpoint import CONFIG
from workers.local_merge.unusable import Unusable


class OutFolder:
    """`path` may be absent or an empty folder; with `force`, a model that is there is replaced at the end."""

    def __init__(self, path: Path, force: bool) -> None:
        self.path = Path(os.path.realpath(path.expanduser()))
        self._force = force
        self._staging = self.path.with_name(f".{self.path.name}.merging")
        self._replaced = self.path.with_name(f".{self.path.name}.replaced")

    @property
    def above(self) -> Path:
        """The nearest of the folders above it that is there; the others will be made."""
        return next(parent for parent in self.path.parents if parent.exists())

    def check(self, sources: Iterable[Path]) -> None:
        """Raises Unusable when something is in the way."""
        if not self.above.is_dir():
            raise Unusable(f"{self.path}: {self.above} is no folder")
        if self.path.exists() and not self.path.is_dir():
            raise Unusable(f"{self.path} is a file; OUT is a folder")
        for source in sources:
            if self.path == source or self.path in source.parents or source in self.path.parents:
                raise Unusable(
                    f"{self.path} and a source, {source}, lie in one another; choose another folder"
                )
        if not self._occupied():
            return
        if not self._force:
            raise Unusable(f"{self.path} is not empty: choose another folder, or add --force to replace it")
        if not (self.path / CONFIG).is_file():
            raise Unusable(f"{self.path} has no {CONFIG}: that is no model, and even --force won't remove it")

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """The folder to work in, this process's alone. Raises Unusable while another merge is in it."""
        self._staging.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._staging, os.O_RDONLY)
        try:
            if not _lock(descriptor) or not self._staging.exists():
                raise Unusable(f"another merge into {self.path} is running")
            yield self._staging
        finally:
            os.close(descriptor)

    def publish(self) -> None:
        """What is in staging is the model. Raises Unusable if something has come in its way meanwhile."""
        if self._occupied():
            self.check(())
            shutil.rmtree(self._replaced, ignore_errors=True)
            self.path.rename(self._replaced)
        self._staging.rename(self.path)
        shutil.rmtree(self._replaced, ignore_errors=True)

    def _occupied(self) -> bool:
        return self.path.is_dir() and any(self.path.iterdir())


def _lock(descriptor: int) -> bool:
    """Whether nobody else has it; it goes with the process, however that ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
