"""The whole service as an object: Redis, gateway, merge worker, serve worker.

    with Stack(Path(".polymerge"), port=0) as stack:
        stack.wait_ready(timeout=300)
        print(stack.url)

One per process at a time. Nothing of it is left when the block ends, however it ends.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from clients.sdk.readiness import ask
from clients.stack.data_lock import DataLock
from clients.stack.embedded_redis import EmbeddedRedis, find_server
from clients.stack.part import Part
from clients.stack.ports import claim_port
from clients.stack.start_error import StartError
from clients.stack.supervision import Supervision
from service.contracts.engine import Readiness

# -P: a folder of the user's that is called `service` or `workers` must not hide ours.
_PYTHON = (sys.executable, "-P", "-m")
GATEWAY = Part("gateway", (*_PYTHON, "service"))
MERGE_WORKER = Part("merge worker", (*_PYTHON, "workers.merge_worker"))
SERVE_WORKER = Part("serve worker", (*_PYTHON, "workers.serve_worker"))
SERVICE_PARTS = (GATEWAY, MERGE_WORKER, SERVE_WORKER)


def _print(line: str) -> None:
    print(line, flush=True)


class Stack:
    def __init__(
        self,
        data: Path,
        host: str = "127.0.0.1",
        port: int = 8000,
        sources: Path | None = None,
        parts: Sequence[Part] = SERVICE_PARTS,
        report: Callable[[str], None] = _print,
    ) -> None:
        self.data = data.resolve()
        self.sources = sources.resolve() if sources else self.data / "sources"
        self.logs = self.data / "logs"
        self.host = host
        self.port = port
        self._parts = parts
        self._tell = report
        self._lock = DataLock(self.data)
        self._supervision: Supervision | None = None
        self._stop_requested = False

    @property
    def url(self) -> str:
        """Where clients on this machine reach the gateway."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def stopping(self) -> bool:
        return self._stop_requested

    def pids(self) -> dict[str, int]:
        """Of the parts that run now, by name."""
        return self._supervision.pids() if self._supervision else {}

    def start(self) -> None:
        """Raises StartError when the folder or the port is taken, or there is no Redis to start."""
        self._lock.acquire()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout: float | None = None) -> Readiness:
        """Until models can be merged and can answer. Raises StartError if that fails or takes too long."""
        began = time.monotonic()
        told = ""
        while True:
            readiness = ask(self.url)
            self.check()
            if readiness and readiness.merge and readiness.generate:
                return readiness
            state = f"waiting for {_missing(readiness)}"
            if timeout is not None and time.monotonic() - began > timeout:
                raise StartError(f"not ready after {timeout:.0f} s: {state} (logs in {self.logs})")
            if state != told:
                self.report(state)
                told = state
            time.sleep(0.2)

    def check(self) -> None:
        """Raises StartError when the stack has stopped, or is about to."""
        supervision = self._supervision
        if supervision is None or supervision.ended or supervision.stopping:
            raise (supervision and supervision.failure) or StartError("stopped")

    def wait(self) -> None:
        """Until it is stopped. Raises StartError if it stopped by itself."""
        if self._supervision:
            self._supervision.wait()
            if self._supervision.failure:
                raise self._supervision.failure

    def request_stop(self) -> None:
        """Begin to stop, without waiting for the end; asked before the start, nothing is started."""
        self._stop_requested = True
        if self._supervision:
            self._supervision.request_stop()

    def kill(self) -> None:
        """Stop without giving the parts time."""
        self.request_stop()
        if self._supervision:
            self._supervision.request_kill()

    def stop(self) -> None:
        """Stop everything and wait for it, 15 s at most. A second Ctrl-C kills at once."""
        self.request_stop()
        if self._supervision:
            try:
                self._supervision.wait()
            except KeyboardInterrupt:
                self.kill()
                self._supervision.wait()
        self._lock.release()

    def report(self, line: str) -> None:
        """Tell the user, and DATA/logs/up.log."""
        # A full disk or a closed terminal must not end the supervision.
        with suppress(OSError), (self.logs / "up.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")
        with suppress(OSError):
            self._tell(line)

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        self.port = claim_port(self.host, self.port)
        self.logs.mkdir(exist_ok=True)
        self.sources.mkdir(parents=True, exist_ok=True)
        given = os.environ.get("REDIS_URL")
        redis = None if given else EmbeddedRedis(find_server(), self.data / "redis")
        environment = self._environment(redis.url if redis else str(given))
        inherit = (self._lock.descriptor,)
        self._supervision = Supervision(self._parts, redis, environment, self.logs, inherit, self.report)
        if self._stop_requested:
            self._supervision.request_stop()
        self._supervision.start()

    def _environment(self, redis_url: str) -> dict[str, str]:
        return {
            **os.environ,
            "POLYMERGE_DATA": str(self.data),
            "POLYMERGE_SOURCES": str(self.sources),
            "POLYMERGE_HOST": self.host,
            "POLYMERGE_PORT": str(self.port),
            "REDIS_URL": redis_url,
            "PYTHONUNBUFFERED": "1",
            # Else vLLM's processes, when they name themselves, overwrite the marker that they are ours.
            "SPT_NOENV": "1",
        }


def _missing(readiness: Readiness | None) -> str:
    if readiness is None:
        return "the gateway"
    states = {
        "Redis": readiness.redis,
        "a merge worker": readiness.merge,
        "a serve worker": readiness.generate,
    }
    return " and ".join(name for name, there in states.items() if not there)
