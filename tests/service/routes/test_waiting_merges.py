"""Merges of models that queued jobs are still to make."""

from typing import Any

import torch
from safetensors.torch import load_file

from service.contracts.job import Job

from .conftest import MODELS, Gateway, assert_problem
from .test_merges import LINEAR


def of(*models: str) -> dict[str, Any]:
    return {"merge_method": "linear", "models": [{"model": m, "parameters": {"weight": 1}} for m in models]}


def submit(gateway: Gateway, recipe: dict[str, Any], **query: str) -> Job:
    answer = gateway.client.post("/merges", json=recipe, params=query)
    assert answer.status_code == 202, answer.text
    return Job.model_validate(answer.json())


def weight(gateway: Gateway, model: str) -> torch.Tensor:
    folder = gateway.store.path(gateway.registry.resolve(model))
    tensors: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    (tensor,) = tensors.values()
    return tensor


def test_a_diamond_of_merges_is_sent_at_once_and_made_in_order(gateway: Gateway) -> None:
    first = submit(gateway, LINEAR, name="first")
    left = submit(gateway, of("first", "base"), name="left")
    right = submit(gateway, of(str(first.model), "safety"), name="right")
    last = submit(gateway, of("left", "right"), name="last")

    assert left.waiting_for == right.waiting_for == [first.id]
    assert last.waiting_for == [left.id, right.id]
    assert submit(gateway, of("left", "right")).id == last.id

    gateway.work()

    made = gateway.client.get("/models/last").json()
    assert made["id"] == last.model
    assert set(made["sources"]) == {left.model, right.model}
    assert torch.equal(weight(gateway, "last"), (weight(gateway, "left") + weight(gateway, "right")) / 2)
    assert gateway.client.post("/merges", json=of("left", "right")).json()["id"] == last.model


def test_what_cannot_work_with_a_model_that_is_not_there_yet_is_refused_at_once(gateway: Gateway) -> None:
    first = submit(gateway, LINEAR, name="first")

    wide = gateway.client.post("/merges", json=of("first", "wide"))
    virtual = gateway.client.post("/merges?materialize=false", json=of("first", "base"))
    plan = gateway.client.post("/merges?dry_run=true", json=of("first", "base")).json()

    assert_problem(wide, 422, "/models/1/model")
    assert first.id in assert_problem(virtual, 422, "/materialize")["detail"]
    assert (plan["waiting_for"], plan["exists"], plan["tensors"]) == ([first.id], False, 1)
    assert len(gateway.client.get("/jobs").json()["items"]) == 1


def test_an_alias_that_exists_stands_for_what_it_points_at_now(gateway: Gateway) -> None:
    submit(gateway, LINEAR, name="safety")

    job = submit(gateway, of("safety", "base"))

    assert (job.waiting_for, job.request["recipe"]["models"][0]["model"]) == ([], MODELS["safety"])


def test_a_name_that_several_jobs_will_give_is_refused_with_their_models(gateway: Gateway) -> None:
    made = [submit(gateway, LINEAR | {"dtype": dtype}, name="both") for dtype in ("float16", "float32")]

    problem = assert_problem(gateway.client.post("/merges", json=of("both", "base")), 422, "/models/0/model")

    assert all(str(job.model) in problem["detail"] for job in made)


def test_ingredients_of_waiting_jobs_are_not_deleted_unless_forced_and_then_missed(gateway: Gateway) -> None:
    first = submit(gateway, LINEAR, name="first")
    last = submit(gateway, of("first", "base"))
    gateway.client.delete("/aliases/base")

    assert last.id in assert_problem(gateway.client.delete(f"/models/{MODELS['base']}"), 409)["detail"]
    assert gateway.client.delete(f"/models/{MODELS['base']}?force=true").status_code == 204
    gateway.work()

    ended = Job.model_validate(gateway.client.get(f"/jobs/{last.id}").json())
    assert gateway.client.get(f"/jobs/{first.id}").json()["state"] == "succeeded"
    assert (ended.state, ended.error and ended.error.type) == ("failed", "damaged-source")
