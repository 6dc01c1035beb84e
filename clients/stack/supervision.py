"""The thread that starts the parts, keeps them alive and, at the end, sees every one of them out."""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from clients.stack.embedded_redis import EmbeddedRedis
from clients.stack.guard import Guard
from clients.stack.guardian import MARKER
from clients.stack.parent_death import adopt_orphans
from clients.stack.part import Part, RunningPart, last_line
from clients.stack.start_error import StartError
from clients.stack.strays import Strays

_REDIS_START_SECONDS = 60.0
_TIDY_SECONDS = 1.0
# Together well below the 15 s in which a stack has to be gone.
_GRACE_SECONDS = 8.0
_REDIS_GRACE_SECONDS = 3.0


class Supervision(threading.Thread):
    """Everything happens in this one thread: its children die with it, so it ends when they have."""

    def __init__(
        self,
        parts: Sequence[Part],
        redis: EmbeddedRedis | None,
        environment: dict[str, str],
        logs: Path,
        inherit: tuple[int, ...],
        report: Callable[[str], None],
    ) -> None:
        super().__init__(name="supervision", daemon=True)
        self.failure: StartError | None = None
        token = secrets.token_hex(8)
        self._server = redis
        self._report = report
        self._ended = threading.Event()
        self._stop_asked = threading.Event()
        self._kill_asked = threading.Event()
        self._strays = Strays(token)
        self._guard = Guard(token, inherit)

        def running(part: Part) -> RunningPart:
            return RunningPart(part, {**environment, MARKER: token}, logs, inherit)

        self._redis = [running(redis.part())] if redis else []
        self._parts = [running(part) for part in parts]

    @property
    def stopping(self) -> bool:
        return self._stop_asked.is_set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def wait(self) -> None:
        """Until it has ended; one that was never started has nothing to end."""
        # Not join(): interrupted by a signal, it takes the thread for dead (bpo-45274).
        if self.ident is not None:
            self._ended.wait()

    def request_stop(self) -> None:
        self._stop_asked.set()

    def request_kill(self) -> None:
        """End everything at once, without the grace."""
        self._kill_asked.set()
        self._stop_asked.set()

    def pids(self) -> dict[str, int]:
        """Of the parts that run now, by name."""
        return {part.name: part.pid for part in self._all() if part.pid is not None and part.alive}

    def run(self) -> None:
        adopt_orphans(True)
        try:
            self._guard.keep()
            self._start()
            self._watch()
        except StartError as error:
            self.failure = error
        except OSError as error:
            self.failure = StartError(f"cannot start a part: {error}")
        except BaseException as error:
            self.failure = StartError(f"the supervision broke: {error!r}")
            raise
        finally:
            try:
                self._end()
            finally:
                adopt_orphans(False)
                self._ended.set()

    def _all(self) -> list[RunningPart]:
        return [*self._redis, *self._parts]

    def _start(self) -> None:
        for part in self._all():
            if self.stopping:
                return
            part.start()
            if part in self._redis:
                self._await_redis(part)

    def _await_redis(self, part: RunningPart) -> None:
        deadline = time.monotonic() + _REDIS_START_SECONDS
        while self._server and not self._server.answers() and not self._stop_asked.wait(0.02):
            if not part.alive or time.monotonic() > deadline:
                raise StartError(f"redis did not start: {last_line(part.log)} (see {part.log})")

    def _watch(self) -> None:
        tidied = time.monotonic()
        while not self._stop_asked.wait(0.1):
            for part in self._all():
                if news := part.revive():
                    self._report(news)
            if time.monotonic() - tidied > _TIDY_SECONDS:
                self._guard.keep()
                self._strays.tidy(self.pids().values())
                tidied = time.monotonic()

    def _end(self) -> None:
        """The parts first, then Redis, which they write their last words to; then whoever is left."""
        self._stop_asked.set()
        self._see_out(self._parts, _GRACE_SECONDS)
        self._see_out(self._redis, _REDIS_GRACE_SECONDS)
        self._strays.sweep()
        self._guard.dismiss()

    def _see_out(self, parts: Iterable[RunningPart], seconds: float) -> None:
        parts = list(parts)
        for part in parts:
            part.terminate()
        deadline = time.monotonic() + seconds
        while any(part.alive for part in parts) and time.monotonic() < deadline:
            self._strays.remember()
            if self._kill_asked.wait(0.1):
                break
        for part in parts:
            part.kill_group()
