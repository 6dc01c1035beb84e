"""Which model an engine gets next, what is evicted for it, what is unloaded: decisions, without any effect.

A model that requests wait for gets, in this order: the engine that has it or is getting it; a quiet engine
that differs only in its weights, by a swap; a new engine, where memory allows; the place of engines that went
unused the longest. An engine that is busy is left to its model for a turn, so that requests which alternate
between models are answered in batches instead of with a swap each; then it is drained, so that none waits for
longer than the turns of those before it. Pinned engines are left alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from service.contracts.engine import Engine, EnginePage, ServeWorker

_QUIET_SECONDS = 0.1
"""A client that sends one request after the other makes pauses this long, and is not through yet."""
_CORES_PER_ENGINE = 2
_CHANGES_PER_TURN = 3.0
"""A turn lasts at least so many times as long as a change of model, which is then a small part of it..."""
_LONGEST_TURN = 10.0
"""...but at most so many times as long as the shortest turn."""


@dataclass(frozen=True)
class Need:
    """What an engine must be to serve a model."""

    fingerprint: str
    memory_bytes: int


@dataclass(frozen=True)
class Start:
    """A new engine on `worker`."""

    worker: str
    model: str


@dataclass(frozen=True)
class Swap:
    """Drain the engine, then give it the weights of `model`."""

    engine: str
    model: str


@dataclass(frozen=True)
class Stop:
    """Drain the engine, then end it."""

    engine: str


@dataclass(frozen=True)
class Refuse:
    """No engine will ever have the model as things are."""

    model: str
    reason: str


Decision = Start | Swap | Stop | Refuse


def schedule(
    pool: EnginePage, needs: Mapping[str, Need], shortest_turn: float, now: datetime
) -> list[Decision]:
    """What to do at this moment. Models without a need (not known yet) are passed over."""
    return list(_Pass(pool, needs, shortest_turn, now).decisions())


def expired(engine: Engine, keep_alive: float, now: datetime) -> bool:
    """Whether nobody has used the engine for as long as its model was to be kept."""
    seconds = keep_alive if engine.keep_alive is None else engine.keep_alive
    busy = engine.leases or engine.waiting or engine.pinned
    return not busy and 0 <= seconds <= _unused(engine, now)


class _Pass:
    """One look at the pool. What has been decided counts as done for the models that come after."""

    def __init__(
        self, pool: EnginePage, needs: Mapping[str, Need], shortest_turn: float, now: datetime
    ) -> None:
        self._pool, self._needs, self._shortest, self._now = pool, needs, shortest_turn, now
        self._changed: set[str] = set()
        """Engines that a decision of this pass is about."""
        self._reserved = {worker.name: 0 for worker in pool.workers}
        """Memory of engines that this pass starts."""

    def decisions(self) -> Iterator[Decision]:
        failed = {failure.model for failure in self._pool.failures}
        asked = [item.model for item in self._pool.queue]
        pinned = [model for model in self._pool.pins if model not in asked and model not in failed]
        for model in [*asked, *pinned]:
            if model in self._needs and not self._has(model):
                yield from self._place(model, self._needs[model])
        yield from self._unload()

    def _has(self, model: str) -> bool:
        """Whether an engine serves the model or is about to."""
        return any(
            engine.next_model == model or (engine.model == model and engine.state in ("loading", "ready"))
            for engine in self._pool.items
        )

    def _place(self, model: str, need: Need) -> Iterator[Decision]:
        peers = [engine for engine in self._pool.items if self._is_peer(engine, need)]
        if quiet := [engine for engine in peers if self._is_quiet(engine)]:
            yield self._swap(quiet, model)
        elif room := [worker for worker in self._pool.workers if self._has_room(worker, need, peers)]:
            roomiest = max(room, key=lambda worker: (self._free(worker), worker.name))
            self._reserved[roomiest.name] += need.memory_bytes
            yield Start(roomiest.name, model)
        elif over := [engine for engine in peers if self._may_change(engine)]:
            yield self._swap(over, model)
        elif not peers:
            yield from self._make_room(model, need)

    def _swap(self, engines: list[Engine], model: str) -> Swap:
        engine = min(engines, key=self._least_missed)
        self._changed.add(engine.id)
        return Swap(engine.id, model)

    def _make_room(self, model: str, need: Need) -> Iterator[Decision]:
        """Stop what went unused the longest, on the worker that has to lose the least; then wait."""
        plans = [plan for worker in self._pool.workers if (plan := self._evictions(worker, need)) is not None]
        if plans:
            for engine in min(plans, key=len):
                if engine.state != "stopping" and engine.id not in self._changed and self._may_change(engine):
                    self._changed.add(engine.id)
                    yield Stop(engine.id)
        elif self._pool.workers and not any(self._could_have_room(w, need) for w in self._pool.workers):
            yield Refuse(model, self._why_never(need))

    def _evictions(self, worker: ServeWorker, need: Need) -> list[Engine] | None:
        """Engines whose end gives the worker room, those that end anyway first; None if nothing can."""
        engines = [engine for engine in self._pool.items if engine.worker == worker.name]
        going = [engine for engine in engines if self._is_going(engine)]
        rest = [engine for engine in engines if engine not in going and not engine.pinned]
        free, chosen = self._free(worker), list[Engine]()
        for engine in [*going, *sorted(rest, key=self._eviction_order)]:
            if free >= need.memory_bytes:
                break
            chosen.append(engine)
            free += engine.memory_bytes
        return chosen if free >= need.memory_bytes else None

    def _unload(self) -> Iterator[Decision]:
        keep_alive = {worker.name: worker.keep_alive for worker in self._pool.workers}
        for engine in self._pool.items:
            settled = engine.state in ("ready", "idle") and engine.id not in self._changed
            if settled and expired(engine, keep_alive.get(engine.worker, -1), self._now):
                yield Stop(engine.id)

    def _is_peer(self, engine: Engine, need: Need) -> bool:
        """Whether a swap can give the engine the model, now or soon."""
        fits = engine.fingerprint == need.fingerprint
        return fits and not engine.pinned and not self._is_going(engine)

    def _is_going(self, engine: Engine) -> bool:
        return engine.state == "stopping" or (engine.state == "draining" and engine.next_model is None)

    def _is_quiet(self, engine: Engine) -> bool:
        if engine.state not in ("ready", "idle") or engine.id in self._changed:
            return False
        unused = engine.state == "idle" or _unused(engine, self._now) >= _QUIET_SECONDS
        return unused and not engine.leases and not engine.waiting

    def _may_change(self, engine: Engine) -> bool:
        """Whether the engine is quiet, or its model has had its turn."""
        if self._is_quiet(engine):
            return True
        if engine.state != "ready" or engine.id in self._changed or engine.ready_at is None:
            return False
        change = engine.swap_seconds[-1] if engine.swap_seconds else 0.0
        turn = min(max(self._shortest, _CHANGES_PER_TURN * change), _LONGEST_TURN * self._shortest)
        return (self._now - engine.ready_at).total_seconds() >= turn

    def _has_room(self, worker: ServeWorker, need: Need, peers: list[Engine]) -> bool:
        """Memory for one more engine; and cores, where an engine that can be swapped to the model exists."""
        running = sum(engine.worker == worker.name for engine in self._pool.items)
        cores = worker.cores >= (running + 1) * _CORES_PER_ENGINE
        return need.memory_bytes <= self._free(worker) and (cores or not peers)

    def _could_have_room(self, worker: ServeWorker, need: Need) -> bool:
        """Whether there is room beside the pinned engines."""
        pinned = [engine for engine in self._pool.items if engine.worker == worker.name and engine.pinned]
        kept = sum(engine.memory_bytes for engine in pinned)
        return worker.memory_budget_bytes - kept >= need.memory_bytes

    def _free(self, worker: ServeWorker) -> int:
        used = sum(engine.memory_bytes for engine in self._pool.items if engine.worker == worker.name)
        return worker.memory_budget_bytes - used - self._reserved[worker.name]

    def _least_missed(self, engine: Engine) -> tuple[bool, float, str]:
        """Sorts engines: those without a model, then those unused the longest."""
        return engine.state != "idle", -_unused(engine, self._now), engine.id

    def _eviction_order(self, engine: Engine) -> tuple[bool, tuple[bool, float, str]]:
        return not self._may_change(engine), self._least_missed(engine)

    def _why_never(self, need: Need) -> str:
        largest = max(worker.memory_budget_bytes for worker in self._pool.workers)
        amount = f"an engine for it needs about {_gigabytes(need.memory_bytes)}"
        if need.memory_bytes > largest:
            return (
                f"{amount}; the largest serve worker may use {_gigabytes(largest)} "
                "(POLYMERGE_SERVE_MEMORY_BYTES)"
            )
        pinned = ", ".join(str(engine.model) for engine in self._pool.items if engine.pinned)
        return f"{amount}, and pinned models hold the memory: {pinned}"


def _unused(engine: Engine, now: datetime) -> float:
    """Seconds since a request ended on the engine, or since its model came."""
    moments = [moment for moment in (engine.last_used_at, engine.ready_at) if moment is not None]
    return 0.0 if engine.leases or not moments else (now - max(moments)).total_seconds()


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
