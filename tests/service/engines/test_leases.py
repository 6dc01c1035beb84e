"""Board and router together: a request runs on an engine that has its model and keeps it, or is told why."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from redis import Redis

from service.connection import connect_async
from service.contracts.engine import EngineState
from service.engines import keys
from service.engines.board import EngineBoard
from service.engines.overview import read_overview
from service.engines.router import EngineRouter, NoEngine
from tests.service.engines.records import MODEL, OTHER, engine, worker

Result = TypeVar("Result")


@pytest.fixture
def board(redis: "Redis") -> EngineBoard:
    return EngineBoard(redis)


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
        return lease.engine


async def until_free(board: EngineBoard) -> None:
    while board.leases("e_1"):
        await asyncio.sleep(0.01)


async def until_waiting(redis: "Redis", requests: int) -> None:
    while [item.requests for item in read_overview(redis).queue] != [requests]:
        await asyncio.sleep(0.01)


def test_an_engine_is_held_while_requests_run(board: EngineBoard, redis: "Redis", redis_url: str) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> None:
        async with router.lease(MODEL) as hold, router.lease(MODEL):
            assert (hold.engine, hold.model) == ("e_1", MODEL)
            assert board.leases("e_1")
            while [item.leases for item in read_overview(redis).items] != [2]:
                await asyncio.sleep(0.01)
        await until_free(board)

    route(redis_url, use)


def test_an_engine_that_is_held_and_drains_takes_no_more_and_is_free_after_the_last_request(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> str:
        async with router.lease(MODEL):
            board.publish(engine("draining"))
            late = asyncio.create_task(ask(router))
            while (await asyncio.wait({late}, timeout=0.3))[0]:
                # The gateway had not seen it yet.
                late = asyncio.create_task(ask(router))
            await until_waiting(redis, 1)
            assert board.leases("e_1")
        await until_free(board)
        board.publish(engine("ready"))
        return await late

    assert route(redis_url, use) == "e_1"


def test_no_request_joins_under_a_lease_that_may_run_out_before_it_is_sent(
    board: EngineBoard, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.holds._LOOK_SECONDS", 60.0)
    monkeypatch.setattr("service.engines.holds._LEASE_SECONDS", 60.0)
    monkeypatch.setattr("service.engines.holds._SAFE_SECONDS", 59.9)
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> int:
        async with router.lease(MODEL):
            await asyncio.sleep(0.2)
            async with router.lease(MODEL):
                return board.leases("e_1")

    assert route(redis_url, use) == 2


def test_a_request_that_fails_gives_its_engine_back(board: EngineBoard, redis_url: str) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> None:
        async with router.lease(MODEL):
            raise RuntimeError("the engine broke off")

    with pytest.raises(RuntimeError):
        route(redis_url, use)
    assert board.leases("e_1") == 0


def test_of_two_engines_with_the_model_the_less_busy_one_is_taken(board: EngineBoard, redis_url: str) -> None:
    for ident in ("e_1", "e_2", "e_3"):
        board.publish(engine("ready", OTHER if ident == "e_3" else MODEL, ident))

    async def use(router: EngineRouter) -> set[str]:
        async with router.lease(MODEL) as one, router.lease(MODEL) as other:
            return {one.engine, other.engine}

    assert route(redis_url, use) == {"e_1", "e_2"}


@pytest.mark.parametrize("state", ["idle", "loading", "draining", "stopping"])
def test_an_engine_that_changes_takes_no_request(
    board: EngineBoard, redis_url: str, state: EngineState
) -> None:
    board.publish(engine(state))

    with pytest.raises(NoEngine, match="GET /engines"):
        route(redis_url, ask, timeout=0.2)
    assert board.leases("e_1") == 0


def test_requests_that_wait_are_counted_and_served_once_the_model_is_loaded(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    board.publish(engine("ready", OTHER))

    async def use(router: EngineRouter) -> list[str]:
        asked = [asyncio.create_task(ask(router)) for _ in range(3)]
        await until_waiting(redis, 3)
        board.publish(engine("ready"))
        board.satisfied(MODEL)
        return await asyncio.gather(*asked)

    assert route(redis_url, use) == ["e_1"] * 3
    assert read_overview(redis).queue == []


def test_a_request_that_is_given_up_waits_no_more_and_holds_no_engine(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    async def use(router: EngineRouter) -> str:
        given_up, patient = (asyncio.create_task(ask(router)) for _ in range(2))
        await until_waiting(redis, 2)
        given_up.cancel()
        await until_waiting(redis, 1)
        board.publish(engine("ready"))
        return await patient

    assert route(redis_url, use) == "e_1"
    assert board.leases("e_1") == 0


def test_a_load_that_failed_is_told_to_all_who_wait_and_not_tried_again_for_them(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    async def use(router: EngineRouter) -> list[str | BaseException]:
        asked = [asyncio.create_task(ask(router)) for _ in range(3)]
        await until_waiting(redis, 3)
        board.failed(MODEL, "no such architecture")
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = route(redis_url, use)

    assert all(isinstance(answer, NoEngine) for answer in answers)
    assert "no such architecture" in str(answers[0])
    assert read_overview(redis).queue == []


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
        await until_waiting(redis, 1)
        board.publish(engine("ready"))
        board.satisfied(MODEL)
        return await asked

    assert [failure.reason for failure in read_overview(redis).failures] == ["out of memory"]
    assert route(redis_url, use) == "e_1"
    assert read_overview(redis).failures == []


def test_nobody_loads_for_requests_whose_gateway_is_gone(redis: "Redis") -> None:
    redis.zadd(keys.DEMAND, {MODEL: 1.0})
    redis.zadd(keys.waiting(MODEL), {"left-behind": 1.0})

    assert read_overview(redis).queue == []


def test_the_lease_of_a_gateway_that_died_runs_out(board: EngineBoard, redis: "Redis") -> None:
    redis.zadd(keys.leases("e_1"), {"left-behind": 1.0})

    assert board.leases("e_1") == 0


def test_the_last_request_says_how_long_its_model_is_kept_until_another_model_comes(
    board: EngineBoard, redis: "Redis", redis_url: str
) -> None:
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> list[float | None]:
        kept = []
        for keep_alive in (60.0, None, 0.0):
            async with router.lease(MODEL, keep_alive):
                pass
            await until_free(board)
            (found,) = read_overview(redis).items
            assert found.last_used_at is not None
            kept.append(found.keep_alive)
        return kept

    assert route(redis_url, use) == [60.0, None, 0.0]
    board.forget_use("e_1")
    (found,) = read_overview(redis).items
    assert (found.last_used_at, found.keep_alive) == (None, None)


def test_only_one_worker_takes_a_model_on(board: EngineBoard) -> None:
    assert [board.claim(MODEL, name) for name in ("here:1", "here:2")] == [True, False]
    board.satisfied(MODEL)
    assert board.claim(MODEL, "here:2")


def test_workers_that_died_on_this_host_are_withdrawn_with_their_engines(
    board: EngineBoard, redis: "Redis"
) -> None:
    for ident, name in [("e_1", "here:1"), ("e_2", "here:2"), ("e_3", "there:1")]:
        board.publish_worker(worker(name))
        board.publish(engine("ready", ident=ident, worker=name))

    board.withdraw_dead("here", lambda name: name == "here:2")

    found = read_overview(redis)
    assert [item.id for item in found.items] == ["e_2", "e_3"]
    assert [item.name for item in found.workers] == ["here:2", "there:1"]


def test_a_lease_is_renewed_while_its_requests_run_and_ends_with_them(
    board: EngineBoard, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one ends in the moment in which leases are renewed."""
    for name, seconds in {"LOOK": 0.002, "RENEW": 0.002, "LINGER": 0.0, "SAFE": 0.0, "LEASE": 1.0}.items():
        monkeypatch.setattr(f"service.engines.holds._{name}_SECONDS", seconds)
    board.publish(engine("ready"))

    async def use(router: EngineRouter) -> int:
        async def request(seconds: float) -> None:
            async with router.lease(MODEL):
                await asyncio.sleep(seconds)

        async with router.lease(MODEL):
            await asyncio.wait_for(asyncio.gather(*(request(0.0001 * i) for i in range(400))), 60)
            await asyncio.sleep(2)
            held = board.leases("e_1")
        for _ in range(100):
            await request(0.001)
        await until_free(board)
        return held

    assert route(redis_url, use) == 1
