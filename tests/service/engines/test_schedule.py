"""The schedule: which engine gets which model, and that nobody starves, thrashes or runs out of memory."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.contracts.engine import Engine, EnginePage, LoadFailure, ServeWorker, WaitingModel
from service.engines.schedule import Decision, Need, Refuse, Start, Stop, Swap, schedule
from tests.service.engines import records
from tests.service.engines.records import MODEL, OTHER, THIRD, worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, LARGE = Need("small", 3), Need("large", 4)
TURN = 2.0


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def serving(model: str, ident: str, unused: float = 60.0, served: float = 60.0, **more: Any) -> Engine:
    """Ready since `served` seconds ago; its last request ended `unused` seconds ago."""
    fields = {"ready_at": ago(served), "last_used_at": ago(unused), **more}
    return records.engine("ready", model, ident, **fields)


def busy(model: str, ident: str, served: float = 60.0, **more: Any) -> Engine:
    return serving(model, ident, unused=0.0, served=served, leases=1, **more)


def decide(
    engines: list[Engine],
    *wanted: str,
    need: Need = SMALL,
    workers: list[ServeWorker] | None = None,
    pins: tuple[str, ...] = (),
    failures: tuple[str, ...] = (),
) -> list[Decision]:
    pool = EnginePage(
        items=[engine.model_copy(update={"pinned": engine.model in pins}) for engine in engines],
        workers=[worker()] if workers is None else workers,
        queue=[WaitingModel(model=model, requests=1, since=NOW) for model in wanted],
        pins=list(pins),
        failures=[LoadFailure(model=model, reason="broken", at=NOW) for model in failures],
    )
    return schedule(pool, dict.fromkeys([*wanted, *pins], need), TURN, NOW)


def test_the_first_model_starts_an_engine() -> None:
    assert decide([], MODEL) == [Start("host:1", MODEL)]


@pytest.mark.parametrize("state", ["loading", "ready"])
def test_a_model_that_is_there_or_on_its_way_is_not_loaded_twice(state: Any) -> None:
    assert decide([records.engine(state, MODEL, ready_at=ago(60))], MODEL) == []
    assert decide([records.engine("draining", OTHER, next_model=MODEL)], MODEL) == []


def test_a_quiet_engine_of_the_same_kind_is_swapped_even_where_another_would_fit() -> None:
    assert decide([serving(OTHER, "e_1")], MODEL, workers=[worker(cores=64)]) == [Swap("e_1", MODEL)]


def test_the_engine_unused_the_longest_is_swapped_whichever_worker_it_belongs_to() -> None:
    engines = [serving(OTHER, "e_1", unused=5), serving(THIRD, "e_2", unused=50, worker="host:2")]
    assert decide(engines, MODEL, workers=[worker(), worker("host:2")]) == [Swap("e_2", MODEL)]


def test_an_engine_without_a_model_is_swapped_first() -> None:
    engines = [serving(OTHER, "e_1"), records.engine("idle", None, "e_2", ready_at=NOW)]
    assert decide(engines, MODEL) == [Swap("e_2", MODEL)]


def test_a_busy_engine_keeps_its_model_for_a_turn_and_then_is_drained() -> None:
    assert decide([busy(OTHER, "e_1", served=TURN - 0.1)], MODEL) == []
    assert decide([busy(OTHER, "e_1", served=TURN)], MODEL) == [Swap("e_1", MODEL)]


def test_a_client_that_sends_one_request_after_the_other_counts_as_busy() -> None:
    assert decide([serving(OTHER, "e_1", unused=0.05, served=1)], MODEL) == []


def test_a_model_whose_requests_have_not_come_in_yet_counts_as_busy() -> None:
    assert decide([serving(OTHER, "e_1", unused=1, served=1, waiting=2)], MODEL) == []


def test_turns_are_longer_where_changes_take_long_but_bounded() -> None:
    assert decide([busy(OTHER, "e_1", served=5, swap_seconds=[2.0])], MODEL) == []
    assert decide([busy(OTHER, "e_1", served=6, swap_seconds=[2.0])], MODEL) == [Swap("e_1", MODEL)]
    assert decide([busy(OTHER, "e_1", served=20, swap_seconds=[600.0])], MODEL) == [Swap("e_1", MODEL)]


def test_a_second_engine_of_a_kind_is_started_where_cores_and_memory_allow() -> None:
    engines = [busy(OTHER, "e_1", served=0.1)]
    assert decide(engines, MODEL, workers=[worker(cores=4)]) == [Start("host:1", MODEL)]
    assert decide(engines, MODEL, workers=[worker(cores=4, budget=5)]) == []


def test_another_kind_of_model_gets_an_engine_beside_the_first_as_long_as_memory_lasts() -> None:
    assert decide([serving(OTHER, "e_1")], MODEL, need=LARGE) == [Start("host:1", MODEL)]
    assert decide([serving(OTHER, "e_1")], MODEL, need=LARGE, workers=[worker(budget=6)]) == [Stop("e_1")]


def test_the_worker_with_the_most_room_starts_the_engine() -> None:
    workers = [worker(budget=10), worker("host:2", budget=12)]
    assert decide([], MODEL, workers=workers) == [Start("host:2", MODEL)]


def test_as_few_engines_as_possible_are_evicted_and_those_unused_the_longest() -> None:
    engines = [serving(OTHER, "e_1", unused=10), serving(THIRD, "e_2", unused=20), busy(THIRD, "e_3")]
    assert decide(engines, MODEL, need=LARGE) == [Stop("e_2")]


def test_nothing_more_is_evicted_while_an_engine_is_already_on_its_way_out() -> None:
    engines = [serving(OTHER, "e_1"), serving(THIRD, "e_2"), records.engine("stopping", THIRD, "e_3")]
    assert decide(engines, MODEL, need=LARGE) == []


def test_a_busy_engine_of_another_kind_has_its_turn_before_it_is_evicted() -> None:
    tight = [worker(budget=4)]
    assert decide([busy(OTHER, "e_1", served=1)], MODEL, need=LARGE, workers=tight) == []
    assert decide([busy(OTHER, "e_1", served=3)], MODEL, need=LARGE, workers=tight) == [Stop("e_1")]


def test_two_models_that_wait_get_two_different_engines() -> None:
    engines = [serving(THIRD, "e_1", unused=20), serving(THIRD, "e_2", unused=10)]
    assert decide(engines, MODEL, OTHER) == [Swap("e_1", MODEL), Swap("e_2", OTHER)]
    assert decide([], MODEL, OTHER, workers=[worker(budget=5)]) == [Start("host:1", MODEL)]


def test_a_model_too_large_for_every_worker_is_refused_with_the_sizes() -> None:
    (refusal,) = decide([], MODEL, need=Need("huge", 7_000_000_000), workers=[worker(budget=5_000_000_000)])
    assert isinstance(refusal, Refuse)
    assert "7.0 GB" in refusal.reason
    assert "5.0 GB" in refusal.reason


def test_a_pinned_model_is_loaded_without_requests_and_neither_swapped_evicted_nor_unloaded() -> None:
    assert decide([], pins=(MODEL,)) == [Start("host:1", MODEL)]
    pinned = [serving(OTHER, "e_1", unused=9999, served=9999)]
    assert decide(pinned, pins=(OTHER,)) == []
    (refusal,) = decide(pinned, MODEL, pins=(OTHER,), workers=[worker(budget=4)])
    assert isinstance(refusal, Refuse)
    assert OTHER in refusal.reason


def test_a_pinned_model_that_failed_to_load_is_tried_again_only_for_a_request() -> None:
    assert decide([], pins=(MODEL,), failures=(MODEL,)) == []
    assert decide([], MODEL, pins=(MODEL,), failures=(MODEL,)) == [Start("host:1", MODEL)]


@pytest.mark.parametrize(
    ("asked", "unused", "ends"),
    [(None, 299, False), (None, 301, True), (0.0, 0.0, True), (900.0, 301, False), (-1.0, 99999, False)],
)
def test_a_model_is_unloaded_once_its_keep_alive_is_over(
    asked: float | None, unused: float, ends: bool
) -> None:
    decisions = decide([serving(MODEL, "e_1", unused=unused, served=99999, keep_alive=asked)])
    assert decisions == ([Stop("e_1")] if ends else [])


def test_a_model_in_use_is_not_unloaded() -> None:
    assert decide([busy(MODEL, "e_1", keep_alive=0.0)]) == []
    assert decide([serving(MODEL, "e_1", keep_alive=0.0, waiting=1)]) == []


def test_without_a_worker_nothing_is_decided() -> None:
    assert decide([], MODEL, workers=[]) == []
