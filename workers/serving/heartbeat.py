"""Keeps the records of worker and engines alive in Redis, whatever their threads are busy with."""

import logging
import threading

from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import Engine, ServeWorker
from service.engines.board import EngineBoard
from service.readiness import announce_serve_worker, withdraw_serve_worker

log = logging.getLogger("polymerge.serve_worker")

_SECONDS = 2.0


class Heartbeat(threading.Thread):
    """Publishes every change at once, and everything again every two seconds."""

    def __init__(self, redis: "Redis", worker: ServeWorker) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._redis = redis
        self._board = EngineBoard(redis)
        self._worker = worker
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def engine(self, ident: str) -> Engine:
        return self._engines[ident]

    def announce(self, engine: Engine) -> None:
        """Publish the record. Raises RedisError when that must be left to the next beat."""
        with self._lock:
            self._engines[engine.id] = engine
            self._board.publish(engine)

    def withdraw(self, ident: str) -> None:
        """The engine is gone for good. Raises RedisError: then its record runs out by itself."""
        with self._lock:
            del self._engines[ident]
            self._board.withdraw(ident)

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._beat()
            except RedisError as error:
                log.warning("Redis is away: %s", error)
            self._ended.wait(_SECONDS)

    def end(self) -> None:
        """The worker ends."""
        self._ended.set()
        self.join()
        self._board.withdraw_worker(self._worker.name)
        withdraw_serve_worker(self._redis, self._worker.name)

    def _beat(self) -> None:
        with self._lock:
            self._board.publish_worker(self._worker)
            for engine in self._engines.values():
                self._board.publish(engine)
        announce_serve_worker(self._redis, self._worker.name)
