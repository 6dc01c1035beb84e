"""A part of the stack: one process with a name, a log and a restart policy."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clients.stack.parent_death import die_with
from clients.stack.start_error import StartError

FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
STABLE_SECONDS = 60.0


@dataclass(frozen=True)
class Part:
    """What to run. `stdin` is for what must not be seen in the process list."""

    name: str
    command: tuple[str, ...]
    stdin: str | None = None


class RunningPart:
    """Keeps the process of one part alive. All calls come from one thread, which outlives the process."""

    def __init__(
        self, part: Part, environment: dict[str, str], logs: Path, inherit: tuple[int, ...] = ()
    ) -> None:
        self.name = part.name
        self.log = logs / f"{part.name.replace(' ', '-')}.log"
        self._part = part
        self._environment = environment
        self._inherit = inherit
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._delay = FIRST_DELAY
        self._restart_at: float | None = None
        self._epitaph = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._part.command,
                stdin=subprocess.DEVNULL if self._part.stdin is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                pass_fds=self._inherit,
                preexec_fn=die_with(os.getpid()),
            )
        self._started = time.monotonic()
        if self._part.stdin is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError), self._process.stdin as pipe:
                pipe.write(self._part.stdin.encode())

    def revive(self) -> str | None:
        """Restart the process if it died and its time has come; then says what happened.

        Raises StartError when it ended for what a restart can't mend.
        """
        if self._process is None or self.alive:
            return None
        if self._restart_at is None:
            self._bury()
        if self._restart_at is None or time.monotonic() < self._restart_at:
            return None
        try:
            self.start()
        except OSError as error:
            self._restart_at = time.monotonic() + LONGEST_DELAY
            return f"{self._epitaph}; cannot restart it yet: {error}"
        self._restart_at = None
        return f"{self._epitaph}; restarted"

    def terminate(self) -> None:
        if self._process is not None and self.alive:
            self._process.terminate()

    def kill_group(self) -> None:
        """SIGKILL for what is left of the process and its group, and reap it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _bury(self) -> None:
        """The process was found dead: end its group, and say when the next one starts."""
        self.kill_group()
        if self._process is not None and self._process.returncode == os.EX_CONFIG:
            raise StartError(f"{self.name}: {last_line(self.log)}")
        now = time.monotonic()
        if now - self._started > STABLE_SECONDS:
            self._delay = FIRST_DELAY
        self._restart_at = now + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        self._epitaph = f"{self.name} died ({self._cause()})"

    def _cause(self) -> str:
        code = self._process.returncode if self._process else 0
        if code < 0:
            return f"signal {-code}"
        return f"exit code {code}: {last_line(self.log)}"


def last_line(log: Path) -> str:
    """The last words of a log, usually the error."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:400] if lines else "nothing in its log"
