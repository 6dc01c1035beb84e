"""The schedule carried out over time, with whatever load: what must hold at every moment, and in the end."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from service.contracts.engine import Engine, EnginePage, ServeWorker, WaitingModel
from service.engines.schedule import Decision, Need, Refuse, Start, Stop, Swap, schedule

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP, TURN, SWAP_SECONDS, START_SECONDS, STOP_SECONDS = 0.15, 2.0, 1.5, 30.0, 1.0
MODELS = [f"m_{number:016x}" for number in range(6)]


@dataclass
class Client:
    """Sends one request after the other for a model, and waits for each answer."""

    model: str
    left: int
    seconds: float
    asked_at: float | None = None
    engine: str | None = None
    ends_at: float = 0.0


@dataclass
class World:
    """Engines that take the time that real ones take. Time stands still but in step()."""

    needs: dict[str, Need]
    workers: list[ServeWorker]
    clients: list[Client]
    pins: list[str] = field(default_factory=list)
    now: float = 0.0
    engines: dict[str, Engine] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    swaps: int = 0
    starts: int = 0
    longest_wait: float = 0.0
    refused: set[str] = field(default_factory=set)

    def step(self) -> None:
        self.now += STEP
        self._answer()
        self._ask()
        for decision in schedule(self.overview(), self.needs, TURN, self.moment):
            self._carry_out(decision)
        self._change()

    @property
    def moment(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def overview(self) -> EnginePage:
        waiting = [c for c in self.clients if c.asked_at is not None and c.engine is None]
        per_model = Counter(client.model for client in waiting)
        since = {m: min(c.asked_at or 0.0 for c in waiting if c.model == m) for m in per_model}
        return EnginePage(
            items=[
                engine.model_copy(
                    update={
                        "leases": self._leases(engine.id),
                        "waiting": per_model.get(engine.model or "", 0),
                        "pinned": engine.model in self.pins,
                    }
                )
                for engine in self.engines.values()
            ],
            workers=self.workers,
            queue=[
                WaitingModel(model=m, requests=per_model[m], since=START + timedelta(seconds=since[m]))
                for m in sorted(per_model, key=lambda m: (since[m], m))
            ],
            pins=self.pins,
        )

    def _leases(self, ident: str) -> int:
        return sum(client.engine == ident for client in self.clients)

    def _answer(self) -> None:
        for client in self.clients:
            if client.engine is not None and client.ends_at <= self.now:
                self._update(client.engine, last_used_at=self.moment)
                client.engine = client.asked_at = None
                client.left -= 1

    def _ask(self) -> None:
        for client in self.clients:
            if client.left and client.asked_at is None and client.model not in self.refused:
                client.asked_at = self.now
            if client.asked_at is None or client.engine is not None:
                continue
            for engine in self.engines.values():
                if engine.state == "ready" and engine.model == client.model:
                    client.engine, client.ends_at = engine.id, self.now + client.seconds
                    self.longest_wait = max(self.longest_wait, self.now - client.asked_at)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Start(worker, model):
                self.starts += 1
                need = self.needs[model]
                ident = f"e_{self.starts}"
                self.engines[ident] = Engine(
                    id=ident, worker=worker, state="loading", model=model, fingerprint=need.fingerprint,
                    memory_bytes=need.memory_bytes, heartbeat_at=self.moment,
                )  # fmt: skip
                self.due[ident] = self.now + START_SECONDS
            case Swap(ident, model):
                assert self.engines[ident].fingerprint == self.needs[model].fingerprint
                assert self.engines[ident].model not in self.pins
                self.swaps += 1
                self._update(ident, state="draining", next_model=model)
            case Stop(ident):
                assert self.engines[ident].model not in self.pins
                self._update(ident, state="draining", next_model=None)
            case Refuse(model, _):
                self.refused.add(model)
                for client in self.clients:
                    if client.model == model:
                        client.asked_at, client.left = None, 0

    def _change(self) -> None:
        """Drains, loads and stops go on."""
        for engine in list(self.engines.values()):
            if engine.state == "draining" and not self._leases(engine.id):
                if engine.next_model is None:
                    self._update(engine.id, state="stopping")
                    self.due[engine.id] = self.now + STOP_SECONDS
                else:
                    self._update(engine.id, state="loading", model=engine.next_model, next_model=None)
                    self._update(engine.id, swap_seconds=[SWAP_SECONDS], last_used_at=None)
                    self.due[engine.id] = self.now + SWAP_SECONDS
            elif engine.state == "loading" and self.due[engine.id] <= self.now:
                self._update(engine.id, state="ready", ready_at=self.moment)
            elif engine.state == "stopping" and self.due[engine.id] <= self.now:
                del self.engines[engine.id]

    def _update(self, ident: str, **changes: object) -> None:
        self.engines[ident] = self.engines[ident].model_copy(update=changes)


def run(world: World, seconds: float) -> None:
    """Until every client has all its answers."""
    while any(client.left for client in world.clients):
        world.step()
        assert world.now < seconds, "somebody starves"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    sizes = st.integers(1, 4)
    kinds = {kind: draw(sizes) for kind in ("small", "wide", "deep")}
    needs = {m: Need(kind := draw(st.sampled_from(sorted(kinds))), kinds[kind]) for m in MODELS}
    budgets = draw(st.lists(st.integers(4, 12), min_size=1, max_size=3))
    workers = [
        ServeWorker(
            name=f"host:{n}", memory_budget_bytes=b, cores=draw(st.sampled_from([2, 8])), keep_alive=60
        )
        for n, b in enumerate(budgets)
    ]
    clients = st.builds(
        Client,
        model=st.sampled_from(MODELS),
        left=st.integers(1, 20),
        seconds=st.floats(0.1, 3.0, allow_nan=False),
    )
    pins = draw(st.lists(st.sampled_from(MODELS), max_size=1, unique=True))
    return World(needs, workers, draw(st.lists(clients, min_size=1, max_size=8)), pins)


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_every_request_is_answered_or_refused_within_memory_and_pins_stay(world: World) -> None:
    while any(client.left for client in world.clients):
        world.step()
        assert world.now < 3600, "somebody starves"
        for worker in world.workers:
            used = sum(e.memory_bytes for e in world.engines.values() if e.worker == worker.name)
            assert used <= worker.memory_budget_bytes
        covered = Counter(
            e.next_model or e.model
            for e in world.engines.values()
            if e.next_model or e.state in ("loading", "ready")
        )
        assert all(count == 1 for count in covered.values()), "a model is loaded twice"


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_what_nobody_uses_is_unloaded_in_the_end(world: World) -> None:
    run(world, 3600)
    for _ in range(int(150 / STEP)):
        world.step()
    assert {engine.model for engine in world.engines.values()} <= set(world.pins)


def test_clients_that_alternate_between_models_are_answered_in_batches() -> None:
    """Six clients, three models, one engine, answers of 0.2 s: 240 requests, which could cost 240 swaps."""
    clients = [Client(MODELS[number % 3], left=40, seconds=0.2) for number in range(6)]
    workers = [ServeWorker(name="host:1", memory_budget_bytes=3, cores=2, keep_alive=60)]
    world = World(dict.fromkeys(MODELS, Need("small", 3)), workers, clients)

    run(world, 600)

    assert world.starts == 1
    assert world.swaps <= 12
    # Two turns of others and the changes between them; the first ones wait for vLLM to start, too.
    assert world.longest_wait <= START_SECONDS + 3 * (TURN * 3 + SWAP_SECONDS)
