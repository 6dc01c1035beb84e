"""Keeps the engine's record alive in Redis while the worker's main thread is busy starting vLLM."""

import logging
import threading

from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import Engine
from service.engines.board import EngineBoard
from service.readiness import announce_serve_worker, withdraw_serve_worker

log = logging.getLogger("polymerge.serve_worker")

_SECONDS = 2.0


class Heartbeat(threading.Thread):
    """Publishes every change at once, and the last one again every two seconds."""

    def __init__(self, redis: "Redis", engine: Engine) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._redis = redis
        self._board = EngineBoard(redis)
        self._engine = engine
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def engine(self) -> Engine:
        return self._engine

    def update(self, **changes: object) -> None:
        """Change fields of the record. The change is published before this returns."""
        with self._lock:
            self._engine = self._engine.model_copy(update=changes)
            self._board.publish(self._engine)

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with self._lock:
                    self._board.publish(self._engine)
                announce_serve_worker(self._redis, self._engine.worker)
            except RedisError as error:
                log.warning("Redis is away: %s", error)
            self._ended.wait(_SECONDS)

    def end(self) -> None:
        """The engine is gone for good: withdraw its record."""
        self._ended.set()
        self.join()
        self._board.withdraw(self._engine)
        withdraw_serve_worker(self._redis, self._engine.worker)
