"""The engines of one serve worker: each step looks at all of serving and carries out this worker's part."""

import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime

import psutil
from redis import Redis
from redis.exceptions import RedisError

from service.contracts.engine import EnginePage, ServeWorker
from service.engines.board import EngineBoard
from service.engines.overview import read_overview
from service.engines.schedule import Decision, Need, Refuse, Start, Stop, Swap, schedule
from service.models.open_store import open_store
from service.models.registry import Registry
from service.settings import Settings
from workers.serving.heartbeat import Heartbeat
from workers.serving.memory import budget
from workers.serving.needs import Needs
from workers.serving.pooled_engine import PooledEngine

log = logging.getLogger("polymerge.serve_worker")

_STEP_SECONDS, _IDLE_STEP_SECONDS = 0.05, 0.2
"""From step to step while requests wait for a model, and while none does."""
_NOTICE_SECONDS = 0.02
"""How soon the first one is noticed."""


class EnginePool:
    """run() in one thread; each engine has one of its own, and the heartbeat too."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self._registry = Registry(open_store(settings), redis)
        self._board = EngineBoard(redis)
        self._worker = ServeWorker(
            name=f"{socket.gethostname()}:{os.getpid()}",
            memory_budget_bytes=budget(settings),
            cores=len(os.sched_getaffinity(0)),
            keep_alive=settings.keep_alive,
        )
        self._needs = Needs(self._registry.store, settings, self._worker.memory_budget_bytes)
        self._beat = Heartbeat(redis, self._worker)
        self._engines: dict[str, PooledEngine] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until request_stop()."""
        self._board.withdraw_dead(socket.gethostname(), _lives)
        self._beat.start()
        try:
            while not self._stopping.is_set():
                try:
                    self._step()
                    self._rest()
                except RedisError as error:
                    log.warning("Redis is away: %s", error)
                    self._stopping.wait(_STEP_SECONDS)
        finally:
            self._end()

    def request_stop(self) -> None:
        self._stopping.set()

    def _step(self) -> None:
        for engine in list(self._engines.values()):
            if engine.gone:
                self._engines.pop(engine.id).end()
            elif not engine.busy:
                self._needs.learn(engine.record.fingerprint, engine.record.memory_bytes)
                engine.look_after()
        pool = read_overview(self._redis)
        needs = self._needs_of(pool)
        for decision in schedule(pool, needs, self._settings.switch_after_seconds, datetime.now(UTC)):
            self._carry_out(decision, needs)

    def _rest(self) -> None:
        """Until the next step is due, or somebody asks for a model: looking costs far less than a step."""
        if self._board.in_demand():
            self._stopping.wait(_STEP_SECONDS)
            return
        until = time.monotonic() + _IDLE_STEP_SECONDS
        while time.monotonic() < until and not self._stopping.wait(_NOTICE_SECONDS):
            if self._board.in_demand():
                return

    def _needs_of(self, pool: EnginePage) -> dict[str, Need]:
        """Of every model that is wanted. One that can't be read is refused."""
        needs = {}
        for model in {*pool.pins, *(item.model for item in pool.queue)}:
            try:
                needs[model] = self._needs.of(model)
            except (OSError, ValueError) as error:
                log.error("%s can't be served: %s", model, error)
                self._board.failed(model, str(error))
        return needs

    def _carry_out(self, decision: Decision, needs: dict[str, Need]) -> None:
        match decision:
            case Start(worker, model) if worker == self._worker.name:
                if self._board.claim(model, worker):
                    engine = PooledEngine(
                        self._board, self._beat, self._registry, self._settings, self._stopping
                    )
                    self._engines[engine.id] = engine
                    engine.start(worker, model, needs[model])
            case Swap(ident, model) if self._is_free(ident):
                if self._board.claim(model, self._worker.name):
                    self._engines[ident].swap(model)
            case Stop(ident) if self._is_free(ident):
                self._engines[ident].stop()
            case Refuse(model, reason):
                log.error("%s can't be served: %s", model, reason)
                self._board.failed(model, reason)

    def _is_free(self, ident: str) -> bool:
        return ident in self._engines and not self._engines[ident].busy

    def _end(self) -> None:
        threads = [threading.Thread(target=engine.end) for engine in self._engines.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._beat.end()


def _lives(worker: str) -> bool:
    """Whether a worker of this host, named host:pid, is still there."""
    return psutil.pid_exists(int(worker.rpartition(":")[2]))
