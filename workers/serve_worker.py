"""`python -m workers.serve_worker`: one vLLM engine, given whichever model requests wait for."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from service.connection import connect
from service.contracts.engine import Engine
from service.engines.board import EngineBoard
from service.settings import Settings
from service.store import Store
from workers.intact import check_intact
from workers.serving.fingerprint import fingerprint
from workers.serving.heartbeat import Heartbeat
from workers.serving.vllm_server import EngineFailed, VllmServer

log = logging.getLogger("polymerge.serve_worker")

_POLL_SECONDS = 0.05
_HEALTH_SECONDS = 1.0


class ServeWorker:
    """Everything but the heartbeat happens in the thread that calls run()."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._store = Store(settings.store_root)
        self._switch_after = settings.switch_after_seconds
        self._board = EngineBoard(redis)
        self._server = VllmServer(settings)
        name = f"{socket.gethostname()}:{os.getpid()}"
        engine = Engine(
            id=f"e_{secrets.token_hex(4)}", worker=name, state="idle", heartbeat_at=datetime.now(UTC)
        )
        self._beat = Heartbeat(redis, engine)
        self._fingerprint: str | None = None
        self._checked = 0.0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until request_stop()."""
        self._board.withdraw_dead(socket.gethostname(), _lives)
        self._beat.start()
        try:
            while not self._stopping.wait(_POLL_SECONDS):
                try:
                    self._step()
                except RedisError as error:
                    log.warning("Redis is away: %s", error)
        finally:
            self._server.stop()
            self._beat.end()

    def request_stop(self) -> None:
        self._stopping.set()

    def _step(self) -> None:
        self._notice_death()
        wanted = self._board.demand()
        if not wanted:
            return
        model, waited = wanted[0]
        engine = self._beat.engine
        if engine.state == "ready" and engine.model == model:
            self._board.satisfied(model)
        elif waited >= self._switch_after or not self._board.leases(engine.id):
            self._change_to(model)

    def _notice_death(self) -> None:
        if self._beat.engine.state != "ready" or time.monotonic() - self._checked < _HEALTH_SECONDS:
            return
        self._checked = time.monotonic()
        if not self._server.healthy():
            log.error("the engine died; it is started again for the next request")
            self._discard("the engine died")

    def _change_to(self, model: str) -> None:
        try:
            wanted = self._inspect(model)
        except (OSError, ValueError) as error:
            log.error("%s can't be served: %s", model, error)
            self._board.failed(model, str(error))
            return
        self._drain()
        self._beat.update(state="loading", model=model)
        began = time.monotonic()
        try:
            self._load(model, wanted)
        except EngineFailed as error:
            log.error("loading %s failed: %s", model, error)
            self._board.failed(model, str(error))
            self._discard(str(error))
            return
        if not self._stopping.is_set():
            self._announce(model, time.monotonic() - began)

    def _inspect(self, model: str) -> str:
        """The model's fingerprint, once its files are found whole: no engine is touched for a damaged one."""
        manifest, folder = self._store.manifest(model), self._store.path(model)
        check_intact(manifest, folder)
        if manifest.base:
            check_intact(self._store.manifest(manifest.base), self._store.path(manifest.base))
        return fingerprint(manifest, folder)

    def _announce(self, model: str, seconds: float) -> None:
        log.info("serving %s after %.1f s", model, seconds)
        self._checked = time.monotonic()
        self._beat.update(
            state="ready",
            url=self._server.url,
            pid=self._server.pid,
            max_model_len=self._server.max_model_len,
            last_load_seconds=round(seconds, 3),
            last_error=None,
        )
        self._board.satisfied(model)

    def _drain(self) -> None:
        """No new request may come, and those that run end before the weights change."""
        if self._beat.engine.state != "ready":
            return
        self._beat.update(state="draining")
        while self._board.leases(self._beat.engine.id) and not self._stopping.wait(_POLL_SECONDS):
            if not self._server.alive:
                return

    def _load(self, model: str, wanted: str) -> None:
        """Swap where the running engine fits the model, else start one. A failed swap ends in a start."""
        folder = self._store.path(model)
        if wanted == self._fingerprint and self._server.healthy() and self._swapped(folder):
            return
        self._fingerprint = None
        self._server.start(folder, self._stopping.is_set)
        self._fingerprint = wanted

    def _swapped(self, folder: Path) -> bool:
        try:
            self._server.swap(folder)
        except EngineFailed as error:
            log.error("the swap failed, the engine is started anew: %s", error)
            return False
        return True

    def _discard(self, reason: str) -> None:
        self._server.stop()
        self._fingerprint = None
        self._beat.update(state="idle", model=None, url=None, pid=None, last_error=reason)


def _lives(worker: str) -> bool:
    """Whether a worker of this host, named host:pid, is still there."""
    return psutil.pid_exists(int(worker.rpartition(":")[2]))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings.from_environment()
    worker = ServeWorker(connect(settings.redis_url), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.request_stop())
    worker.run()


if __name__ == "__main__":
    main()
