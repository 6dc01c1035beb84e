"""Puts finished shards on record while the merge goes on, each read on the heels of those who write it."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from workers.merging.checkpoint import Shard
from workers.merging.finished_shards import FinishedShard, record_finished

_LOOK_SECONDS = 0.2
"""How often a thread that waits for the writers looks whether to go on."""


class Recorder:
    """A context; when that breaks off, reading stops too."""

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        metadata: Mapping[str, str],
        remarks: Mapping[str, str],
        check: Callable[[], None],
        threads: int,
    ) -> None:
        """`remarks` grow meanwhile; `check` may raise to stop."""
        self._check = check
        self._stopped = threading.Event()
        fronts = [_Front(shard, metadata) for shard in shards]
        self._front_of = {task.name: front for front in fronts for task in front.shard.tasks}
        # Not before the first is read does the next begin: one thread is enough, more are faster.
        self._pool = ThreadPoolExecutor(threads)
        self._records: dict[str, Future[FinishedShard]] = {
            front.shard.name: self._pool.submit(
                record_finished, folder, front.shard, remarks, self._go_on, partial(front.wait, self._go_on)
            )
            for front in fronts
        }

    def finished(self, tensor: str) -> None:
        """It is written; a tensor of another shard is none of ours."""
        if tensor in self._front_of:
            self._front_of[tensor].finished(tensor)

    @property
    def records(self) -> dict[str, FinishedShard]:
        """By shard, when the context is over."""
        return {name: record.result() for name, record in self._records.items()}

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._stopped.set()
        self._pool.shutdown(cancel_futures=kind is not None)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise InterruptedError
        self._check()


class _Front:
    """How far a shard is finished, from its start on."""

    def __init__(self, shard: Shard, metadata: Mapping[str, str]) -> None:
        self.shard = shard
        self._unfinished = deque(shard.ends(metadata).items())
        self._finished: set[str] = set()
        self._position = 0
        self._changed = threading.Condition()

    def finished(self, tensor: str) -> None:
        with self._changed:
            self._finished.add(tensor)
            while self._unfinished and self._unfinished[0][0] in self._finished:
                _, self._position = self._unfinished.popleft()
            self._changed.notify_all()

    def wait(self, go_on: Callable[[], None], stop: int) -> None:
        """Until the shard's bytes below `stop` are finished. `go_on` may raise."""
        with self._changed:
            while self._unfinished and self._position < stop:
                self._changed.wait(_LOOK_SECONDS)
                go_on()
