"""Board and router together: a request runs on an engine that has its model and keeps it, or is told why."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from redis import Redis

from service.connection import connect_async
from service.contracts.engine import Engine, EngineState
from service.engines import keys
from service.engines.board import EngineBoard
from service.engines.router import EngineRouter, NoEngine

MODEL, OTHER = "m_00000000000000aa", "m_00000000000000bb"
Result = TypeVar("Result")


@pytest.fixture
def board(redis: "Redis") -> EngineBoard:
    return EngineBoard(redis)


def engine(state: EngineState, model: str | None = MODEL) -> Engine:
    return Engine(
        id="e_1",
        worker="host:1",
        state=state,
        model=model,
        url="http://127.0.0.1:1",
        heartbeat_at=datetime.now(UTC),
    )


def route(redis_url: str, use: Callable[[EngineRouter], Awaitable[Result]], timeout: float = 20.0) -> Result:
    """What `use` returns of a router whose requests wait for so long."""

    async def run() -> Result:
        router = EngineRouter(connect_async(redis_url), timeout)
        try:
            return await use(router)
        finally:
            await router.close()

    return asyncio.run(run())


async def ask(router: EngineRouter) -> str:
    async with router.lease(MODEL) as lease:
        return lease.url


def test_an_engine_is_held_while_a_request_runs(board: EngineBoard, redis_url: str) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> tuple[int, int]:
        async with router.lease(MODEL) as lease:
            assert (lease.engine, lease.model) == ("e_1", MODEL)
            assert board.leases("e_1") == 1
            async with router.lease(MODEL):
                return board.leases("e_1"), (await router.engines())[0].leases

    assert route(redis_url, use) == (2, 2)
    assert board.leases("e_1") == 0


def test_a_request_that_fails_gives_its_engine_back(board: EngineBoard, redis_url: str) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> None:
        async with router.lease(MODEL):
            raise RuntimeError("the engine broke off")

    with pytest.raises(RuntimeError):
        route(redis_url, use)
    assert board.leases("e_1") == 0


@pytest.mark.parametrize("state", ["idle", "loading", "draining", "failed"])
def test_an_engine_that_changes_takes_no_request(
    board: EngineBoard, redis_url: str, state: EngineState
) -> None:
    board.publish(engine(state))

    with pytest.raises(NoEngine, match="GET /engines"):
        route(redis_url, ask, timeout=0.2)
    assert board.leases("e_1") == 0


def test_a_waiting_request_is_seen_and_served_once_the_model_is_loaded(
    board: EngineBoard, redis_url: str
) -> None:
    board.publish(engine("ready", OTHER))

    async def use(router: EngineRouter) -> str:
        asked = asyncio.create_task(ask(router))
        while not board.demand():
            await asyncio.sleep(0.01)
        assert [model for model, _ in board.demand()] == [MODEL]
        board.publish(engine("ready"))
        board.satisfied(MODEL)
        return await asked

    assert route(redis_url, use) == "http://127.0.0.1:1"
    assert board.demand() == []


def test_a_load_that_failed_is_told_to_all_who_wait_and_not_tried_again_for_them(
    board: EngineBoard, redis_url: str
) -> None:
    async def use(router: EngineRouter) -> list[str | BaseException]:
        asked = [asyncio.create_task(ask(router)) for _ in range(3)]
        while not board.demand():
            await asyncio.sleep(0.01)
        board.failed(MODEL, "no such architecture")
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = route(redis_url, use)

    assert all(isinstance(answer, NoEngine) for answer in answers)
    assert "no such architecture" in str(answers[0])
    assert board.demand() == []


def test_a_model_that_failed_to_load_can_be_asked_for_again_a_little_later(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    board.failed(MODEL, "out of memory")
    with pytest.raises(NoEngine, match="out of memory"):
        route(redis_url, ask)
    assert 0 < redis.ttl(keys.load_error(MODEL)) <= 15
    redis.pexpire(keys.load_error(MODEL), 1)

    async def use(router: EngineRouter) -> str:
        asked = asyncio.create_task(ask(router))
        while not board.demand():
            await asyncio.sleep(0.01)
        board.publish(engine("ready"))
        return await asked

    assert route(redis_url, use) == "http://127.0.0.1:1"


def test_nobody_loads_for_requests_whose_gateway_is_gone(board: EngineBoard, redis: "Redis") -> None:
    redis.zadd(keys.DEMAND, {MODEL: 1.0})

    assert board.demand() == []


def test_the_lease_of_a_gateway_that_died_runs_out(board: EngineBoard, redis: "Redis") -> None:
    redis.zadd(keys.leases("e_1"), {"left-behind": 1.0})

    assert board.leases("e_1") == 0


def test_engines_of_dead_workers_on_this_host_are_withdrawn(board: EngineBoard, redis_url: str) -> None:
    engines = [("e_1", "here:1"), ("e_2", "here:2"), ("e_3", "there:1")]
    for ident, worker in engines:
        board.publish(engine("ready").model_copy(update={"id": ident, "worker": worker}))

    board.withdraw_dead("here", lambda worker: worker == "here:2")

    found = route(redis_url, lambda router: router.engines())
    assert [item.id for item in found] == ["e_2", "e_3"]
