"""Who is told of bytes that are moved between hosts."""

from typing import Protocol


class Watching(Protocol):
    """Called from any thread; add and check may raise, to stop what is going on."""

    def expect(self, total: int) -> None: ...

    def add(self, count: int) -> None: ...

    def check(self) -> None: ...


class _Nobody:
    def expect(self, total: int) -> None: ...

    def add(self, count: int) -> None: ...

    def check(self) -> None: ...


UNWATCHED: Watching = _Nobody()
