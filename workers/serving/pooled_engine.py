"""One engine of a worker's pool: a vLLM server, its record, and the thread in which it is worked on."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from redis.exceptions import RedisError

from service.contracts.engine import Engine
from service.engines.board import EngineBoard
from service.engines.schedule import Need
from service.models.intact import Damaged, check_contents, check_whole
from service.models.registry import Registry
from service.settings import Settings
from workers.serving.heartbeat import Heartbeat
from workers.serving.memory import used
from workers.serving.vllm_server import BrokenModel, EngineFailed, RefusedLoad, VllmServer, is_cpu_build

log = logging.getLogger("polymerge.serve_worker")

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_SWAPS_SHOWN = 10


class PooledEngine:
    """start() it once. Work is done one piece at a time; ask `busy` before giving it more.

    Its thread lives as long as the server: a server is killed when the thread that started it ends.
    """

    def __init__(
        self,
        board: EngineBoard,
        beat: Heartbeat,
        registry: Registry,
        settings: Settings,
        stopping: threading.Event,
    ) -> None:
        self.id = f"e_{secrets.token_hex(4)}"
        self.gone = False
        self._board, self._beat, self._registry, self._stopping = board, beat, registry, stopping
        self._store = registry.store
        self._server = VllmServer(settings, self.id)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.id)
        self._work: Future[None] | None = None
        self._looked = 0.0

    @property
    def busy(self) -> bool:
        return self._work is not None and not self._work.done()

    @property
    def record(self) -> Engine:
        return self._beat.engine(self.id)

    def start(self, worker: str, model: str, need: Need) -> None:
        """Begin to start vLLM on the model."""
        record = Engine(
            id=self.id,
            worker=worker,
            state="loading",
            model=model,
            fingerprint=need.fingerprint,
            memory_bytes=need.memory_bytes,
            heartbeat_at=datetime.now(UTC),
        )
        self._beat.announce(record)
        self._do(lambda: self._start(model))

    def swap(self, model: str) -> None:
        """Begin to drain the engine and to give it the weights of the model."""
        self._do(lambda: self._swap(model))

    def stop(self) -> None:
        """Begin to drain the engine and to end it."""
        self._do(self._stop)

    def look_after(self) -> None:
        """Begin, now and then, to see whether the server is well: end one that died, wake one that sleeps."""
        died = self.record.pid is not None and not self._server.alive
        if died or time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._do(self._look)

    def end(self) -> None:
        """End the engine whatever it is doing, and wait for that."""
        self._server.interrupt()
        self._do(self._end)
        self._thread.shutdown()

    def _do(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception:
                log.exception("%s broke", self.id)
                self._end()

        self._work = self._thread.submit(guarded)

    def _start(self, model: str) -> None:
        began = time.monotonic()
        try:
            check_whole(self._store, model, check_contents)
            self._server.start(self._store.path(model), self._stopping.is_set)
        except (OSError, ValueError, EngineFailed) as error:
            self._fail(model, error)
            self._end()
            return
        if not self._stopping.is_set():
            seconds = round(time.monotonic() - began, 3)
            self._tell(start_seconds=seconds)
            self._quietly(lambda: self._board.loaded("start", seconds))
            self._serve(model, seconds)

    def _swap(self, model: str) -> None:
        try:
            # Before the engine is touched: the model that it has stays, if the new one is damaged.
            check_whole(self._store, model, check_contents)
        except (OSError, ValueError) as error:
            self._fail(model, error)
            return
        if not self._drain(model):
            return
        before = self.record.model
        self._tell(state="loading", model=model, next_model=None, ready_at=None)
        began = time.monotonic()
        try:
            self._server.swap(self._store.path(model))
        except RefusedLoad as error:
            self._fail(model, error)
            kept = before if before != model else None
            self._tell(state="ready" if kept else "idle", model=kept, ready_at=datetime.now(UTC))
        except BrokenModel as error:
            self._fail(model, error)
            self._tell(state="idle", model=None, ready_at=datetime.now(UTC))
        except EngineFailed as error:
            self._recover(model, error)
        else:
            seconds = round(time.monotonic() - began, 3)
            swaps = [*self.record.swap_seconds, seconds][-_SWAPS_SHOWN:]
            self._tell(swaps=self.record.swaps + 1, swap_seconds=swaps)
            self._quietly(lambda: self._board.loaded("swap", seconds))
            self._serve(model, seconds)

    def _recover(self, model: str, error: EngineFailed) -> None:
        """A swap failed and left no weights. Who is to blame? An engine that died gets another try."""
        if self._stopping.is_set():
            return
        if self._server.healthy():
            self._fail(model, error)
            self._end()
        else:
            log.error("the engine died in a swap, it is started anew: %s", error)
            self._tell(pid=None, url=None)
            self._start(model)

    def _serve(self, model: str, seconds: float) -> None:
        """The model is loaded: let requests in."""
        log.info("%s serves %s after %.1f s", self.id, model, seconds)
        self._looked = time.monotonic()
        self._quietly(lambda: self._board.forget_use(self.id))
        self._tell(
            state="ready",
            ready_at=datetime.now(UTC),
            url=self._server.url,
            pid=self._server.pid,
            max_model_len=self._server.max_model_len,
            last_load_seconds=seconds,
        )
        self._quietly(lambda: self._board.satisfied(model))
        if is_cpu_build() and self._server.pid is not None:
            self._tell(memory_bytes=used(self._server.pid))

    def _drain(self, next_model: str | None) -> bool:
        """No new request may come, and those that run end. False when the engine died or is to end now."""
        while True:
            try:
                self._beat.announce(
                    self.record.model_copy(update={"state": "draining", "next_model": next_model})
                )
                while self._board.leases(self.id):
                    if self._stopping.wait(_POLL_SECONDS) or not self._server.alive:
                        break
                break
            except RedisError as error:
                log.warning("Redis is away: %s", error)
                if self._stopping.wait(_POLL_SECONDS):
                    break
        return not self._stopping.is_set()

    def _stop(self) -> None:
        if self._drain(None):
            self._end()

    def _look(self) -> None:
        if not self._server.healthy():
            log.error("%s died; its model is loaded again for the next request", self.id)
            self._end()
        elif self._server.asleep() and (model := self.record.model):
            log.error("%s was put to sleep; it is woken", self.id)
            self._server.wake()
            # What sleeps may have dropped its weights.
            self._swap(model)

    def _fail(self, model: str, error: Exception) -> None:
        log.error("%s can't load %s: %s", self.id, model, error)
        if isinstance(error, Damaged):
            self._take_out_of_service(error)
        self._quietly(lambda: self._board.failed(model, str(error)))

    def _take_out_of_service(self, damage: Damaged) -> None:
        """The model or, of a virtual one or an adapter, what it is made of."""
        try:
            self._quietly(lambda: self._registry.set_damage(damage.model_id, str(damage)))
        except OSError as error:
            log.error("the damage of %s can't be recorded: %s", damage.model_id, error)

    def _end(self) -> None:
        """The server and its record go."""
        if self.gone:
            return
        self._tell(state="stopping")
        self._server.stop()
        self.gone = True
        self._quietly(lambda: self._beat.withdraw(self.id))

    def _tell(self, **changes: object) -> None:
        """Change the record; with Redis away, the next heartbeat publishes it."""
        self._quietly(lambda: self._beat.announce(self.record.model_copy(update=changes)))

    def _quietly(self, talk: Callable[[], None]) -> None:
        try:
            talk()
        except RedisError as error:
            log.warning("Redis is away: %s", error)
