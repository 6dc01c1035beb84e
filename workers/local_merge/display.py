"""What a local merge shows on standard error: bytes, rate and time left, as a bar or as lines for a log."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.filesize import decimal

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LINES = 10


class Progress:
    """The Progress of a merge, called from several threads; this one shows nothing."""

    def expect(self, total: int) -> None: ...

    def begin(self, tensor: str) -> None: ...

    def add(self, count: int) -> None: ...

    def check(self) -> None:
        """Ctrl-C stops the thread that waits for the others."""


@contextmanager
def showing(what: str, quiet: bool) -> Iterator[Progress]:
    """A display of bytes for `what`, such as "merging", or none."""
    if quiet:
        yield Progress()
        return
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    # Imported for terminals only: it takes as long as all the rest of this package.
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Bar(bar, bar.add_task(what, total=None))


class _Bar(Progress):
    def __init__(self, bar: "RichProgress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def expect(self, total: int) -> None:
        self._bar.update(self._task, total=total)

    def add(self, count: int) -> None:
        self._bar.advance(self._task, count)


class _Lines(Progress):
    """A line for each tenth of the bytes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._began = time.monotonic()

    def expect(self, total: int) -> None:
        self._total = total

    def add(self, count: int) -> None:
        with self._lock:
            before, self._done = self._done, self._done + count
            if self._total and _LINES * before // self._total < _LINES * self._done // self._total:
                self._print()

    def _print(self) -> None:
        rate = self._done / max(time.monotonic() - self._began, 1e-3)
        left = (self._total - self._done) / max(rate, 1)
        text = f"{self._what} {decimal(self._done)} of {decimal(self._total)}, {decimal(int(rate))}/s"
        print(text + (f", {left:.0f} s left" if left else ""), file=sys.stderr, flush=True)
