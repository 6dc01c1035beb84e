"""What may change about models: notes, tags, aliases, and whether they are there."""

import os
import time

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.engines.board import EngineBoard
from service.engines.pins import pin
from tests.service.engines.records import engine
from tests.service.sources.build import checkpoint

from .conftest import MODELS, Gateway, assert_problem

_MIX = {
    "merge_method": "linear",
    "models": [{"model": "safety"}, {"model": "general"}],
    "parameters": {"weight": 0.5},
}


def test_notes_and_tags_change_one_by_one_and_outlive_redis(gateway: Gateway) -> None:
    gateway.client.patch("/models/safety", json={"notes": "kept", "tags": ["a"]})
    changed = gateway.client.patch("/models/safety", json={"tags": ["b", "c"]}).json()

    assert (changed["notes"], changed["tags"]) == ("kept", ["b", "c"])
    gateway.redis.flushall()
    gateway.client.post("/store/reindex")
    assert gateway.client.get("/models/safety").json() == changed
    assert_problem(gateway.client.patch("/models/safety", json={"objective": "x"}), 422, "/objective")


def test_an_aliases_history_outlives_the_alias(gateway: Gateway) -> None:
    for model in ("safety", "general"):
        gateway.client.put("/aliases/best", json={"model": model})
    assert gateway.client.delete("/aliases/best").status_code == 204

    history = gateway.client.get("/aliases/best/history").json()

    assert [move["model"] for move in history] == [MODELS["safety"], MODELS["general"], None]
    assert_problem(gateway.client.get("/models/best"), 404)
    assert_problem(gateway.client.delete("/aliases/best"), 404)
    assert_problem(gateway.client.get("/aliases/nothing/history"), 404)


def _free(gateway: Gateway, name: str) -> str:
    """The model without its alias."""
    gateway.client.delete(f"/aliases/{name}")
    return MODELS[name]


def test_a_model_with_an_alias_is_deleted_by_force_only(gateway: Gateway) -> None:
    problem = assert_problem(gateway.client.delete("/models/safety"), 409)
    assert (problem["type"], "alias 'safety'" in problem["detail"]) == ("model-in-use", True)

    assert gateway.client.delete("/models/safety?force=true").status_code == 204

    assert_problem(gateway.client.get("/models/safety"), 404)
    assert_problem(gateway.client.get(f"/models/{MODELS['safety']}"), 404)
    assert gateway.client.get("/aliases/safety/history").json()[-1]["model"] is None


def _queued(gateway: Gateway) -> None:
    assert gateway.client.post("/merges", json=_MIX).status_code == 202


def _virtual(gateway: Gateway) -> None:
    assert gateway.client.post("/merges", json=_MIX | {"materialize": False}).status_code == 200


def _pinned(gateway: Gateway) -> None:
    pin(gateway.redis, MODELS["safety"])


def _served(gateway: Gateway) -> None:
    EngineBoard(gateway.redis).publish(engine("ready", MODELS["safety"]))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_queued, "the job j_"),
        (_virtual, "the virtual model m_"),
        (_pinned, "is pinned"),
        (_served, "the engine e_1 serves it"),
    ],
)
def test_a_model_that_something_needs_is_not_deleted(gateway: Gateway, make: object, reason: str) -> None:
    assert callable(make)
    make(gateway)
    model = _free(gateway, "safety")

    assert reason in assert_problem(gateway.client.delete(f"/models/{model}"), 409)["detail"]

    assert gateway.client.get(f"/models/{model}").status_code == 200


def test_a_deleted_model_comes_back_until_the_trash_is_emptied(gateway: Gateway) -> None:
    gateway.client.patch("/models/safety", json={"notes": "kept"})
    model = _free(gateway, "safety")
    assert gateway.client.delete(f"/models/{model}").status_code == 204
    assert gateway.client.post("/store/gc?older_than=3600").json()["items"] == []
    assert gateway.client.post(f"/models/{model}/restore").json()["notes"] == "kept"
    gateway.client.delete(f"/models/{model}")
    used = gateway.client.get("/store").json()["used_bytes"]

    planned = gateway.client.post("/store/gc?dry_run=true").json()
    assert gateway.client.get("/store").json()["used_bytes"] == used
    done = gateway.client.post("/store/gc").json()

    assert done == planned | {"dry_run": False}
    assert done["size_bytes"] == used - gateway.client.get("/store").json()["used_bytes"] > 0
    assert_problem(gateway.client.post(f"/models/{model}/restore"), 404)
    assert gateway.store.annotations.annotated() == set()


def test_garbage_is_staging_that_nobody_goes_on_with_and_nothing_else(gateway: Gateway) -> None:
    job = gateway.client.post("/merges", json=_MIX).json()["id"]
    kept = {f"{job}.1", "j_00000000000000ff.1"}
    for work in (*kept, "j_00000000000000ee.1", "m_00000000000000ee-0f0f"):
        (gateway.store.stage(work) / "model.safetensors").write_bytes(b"half")
    (gateway.store.root / "staging" / "tmpabcdef").write_text("half")
    long_ago = time.time() - 7200
    for work in ("j_00000000000000ee.1", "m_00000000000000ee-0f0f"):
        for path in (gateway.store.staging(work) / "model.safetensors", gateway.store.staging(work)):
            os.utime(path, (long_ago, long_ago))
    os.utime(gateway.store.root / "staging" / "tmpabcdef", (long_ago, long_ago))

    done = gateway.client.post("/store/gc").json()

    assert [item["path"] for item in done["items"]] == [
        "staging/j_00000000000000ee.1", "staging/m_00000000000000ee-0f0f", "staging/tmpabcdef"
    ]  # fmt: skip
    assert set(os.listdir(gateway.store.root / "staging")) == kept


@pytest.mark.parametrize("limit", ["quota", "floor"])
def test_what_has_no_room_is_507_with_the_numbers(gateway: Gateway, limit: str) -> None:
    checkpoint(gateway.sources / "mine")
    usage = gateway.client.get("/store").json()
    used, floor = usage["used_bytes"], 2 * usage["free_bytes"]
    update, told = {
        "quota": ({"store_quota_bytes": used}, f"{used} of its quota of {used}"),
        "floor": ({"free_floor_bytes": floor}, f"of which {floor} are to stay free"),
    }[limit]
    with TestClient(create_app(gateway.settings.model_copy(update=update))) as client:
        answers = [
            client.post("/merges", json=_MIX),
            client.post("/models", json={"source": {"folder": "mine"}}),
        ]

    for answer in answers:
        problem = assert_problem(answer, 507)
        assert (problem["type"], told in problem["detail"]) == ("no-space", True)
    assert gateway.client.get("/merges").json()["items"] == []


def test_room_that_is_gone_when_the_job_begins_is_the_jobs_error(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = gateway.client.post("/merges", json=_MIX).json()["id"]
    monkeypatch.setenv("POLYMERGE_STORE_QUOTA_BYTES", "1")

    gateway.work()

    ended = gateway.jobs.get(job)
    assert (ended.state, ended.error and ended.error.type) == ("failed", "no-space")
