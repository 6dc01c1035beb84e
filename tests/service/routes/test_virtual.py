"""Recipes as models: registered without being run, alone and in numbers, and written out on demand."""

import json
from typing import Any

import pytest

from .conftest import MODELS, Gateway, assert_nothing_done, assert_problem

LINEAR: dict[str, Any] = {
    "merge_method": "linear",
    "models": [
        {"model": "safety", "parameters": {"weight": 0.25}},
        {"model": "general", "parameters": {"weight": 0.75}},
    ],
    "dtype": "bfloat16",
}
SWEEP = {"sweep": {"models[0].parameters.weight": [0.5, 1.0], "dtype": ["float32", "bfloat16"]}}


@pytest.mark.parametrize(
    ("query", "body"),
    [("", LINEAR | {"materialize": False}), ("&materialize=false", LINEAR)],
)
def test_a_virtual_model_is_there_at_once_and_no_job_is(
    gateway: Gateway, query: str, body: dict[str, Any]
) -> None:
    planned = gateway.client.post("/merges?dry_run=true", json=LINEAR).json()
    answer = gateway.client.post(f"/merges?name=mine{query}", json=body)

    assert answer.status_code == 200
    model = answer.json()
    assert (model["virtual"], model["content_digest"], model["name"]) == (True, None, "mine")
    assert model["id"] == planned["model"]
    assert model["sources"] == [MODELS["safety"], MODELS["general"]]
    assert gateway.client.get("/models/mine").json() == model
    assert gateway.client.get("/merges").json()["items"] == []
    folder = gateway.store.path(model["id"])
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "config.json", "tokenizer.json"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_it_is_written_out_under_its_id_and_was_never_away(gateway: Gateway) -> None:
    virtual = gateway.client.post("/merges?name=mine", json=LINEAR | {"materialize": False}).json()
    answer = gateway.client.post("/models/mine/materialize")
    assert answer.status_code == 202
    assert answer.json()["model"] == virtual["id"]
    assert gateway.client.post("/models/mine/materialize").json()["id"] == answer.json()["id"]
    gateway.work()

    written = gateway.client.get("/models/mine").json()
    changed = {"virtual", "content_digest", "size_bytes", "created_at"}
    assert {key for key in written if written[key] != virtual[key]} == changed
    again = gateway.client.post("/models/mine/materialize")
    assert (again.status_code, again.json()) == (200, written)
    assert gateway.client.post("/merges", json=LINEAR | {"materialize": False}).json() == written
    assert (gateway.store.path(written["id"]) / "model.safetensors").is_file()


def test_the_recipe_of_a_virtual_model_can_be_merged(gateway: Gateway) -> None:
    virtual = gateway.client.post("/merges", json=LINEAR | {"materialize": False}).json()
    job = gateway.client.post("/merges?name=mine", json=LINEAR)
    assert (job.status_code, job.json()["model"]) == (202, virtual["id"])
    gateway.work()
    assert gateway.client.get("/models/mine").json()["virtual"] is False


def test_an_imported_model_is_written_already(gateway: Gateway) -> None:
    answer = gateway.client.post("/models/safety/materialize")
    assert (answer.status_code, answer.json()["id"]) == (200, MODELS["safety"])
    assert_problem(gateway.client.post("/models/nobody/materialize"), 404)


def test_the_index_of_virtual_models_is_rebuilt_from_the_store(gateway: Gateway) -> None:
    gateway.client.post("/merges?name=mine", json=LINEAR | {"materialize": False})
    before = gateway.client.get("/models").json()
    gateway.redis.flushdb()
    gateway.registry.reindex()
    assert gateway.client.get("/models").json() == before


def test_a_virtual_model_has_no_weights_to_merge(gateway: Gateway) -> None:
    gateway.client.post("/merges?name=mine", json=LINEAR | {"materialize": False})
    recipe = LINEAR | {"models": [{"model": "mine", "parameters": {"weight": 1}}], "base_model": "mine"}
    problem = assert_problem(
        gateway.client.post("/merges", json=recipe), 422, "/models/0/model", "/base_model"
    )
    assert "materialize" in problem["detail"]


def test_a_sweep_registers_every_combination_in_one_call(gateway: Gateway) -> None:
    answer = gateway.client.post("/merges?name=grid", json=LINEAR | SWEEP | {"materialize": False})
    assert answer.status_code == 200
    items = answer.json()["items"]
    weight = "models[0].parameters.weight"
    assert [(item["varied"][weight], item["varied"]["dtype"]) for item in items] == [
        (0.5, "float32"),
        (0.5, "bfloat16"),
        (1.0, "float32"),
        (1.0, "bfloat16"),
    ]
    assert len({item["model"] for item in items}) == 4
    for number, item in enumerate(items, 1):
        assert (item["name"], item["state"], item["job"]) == (f"grid-{number}", "virtual", None)
        model = gateway.client.get(f"/models/grid-{number}").json()
        assert (model["id"], model["virtual"]) == (item["model"], True)
    alone = LINEAR | {"dtype": "float32", "models": [_weighted("safety", 0.5), LINEAR["models"][1]]}
    assert gateway.client.post("/merges?dry_run=true", json=alone).json()["model"] == items[0]["model"]


def test_a_list_of_recipes_is_queued_unless_it_is_there(gateway: Gateway) -> None:
    other = LINEAR | {"models": LINEAR["models"][:1]}
    gateway.client.post("/merges", json=other)
    gateway.work()
    answer = gateway.client.post("/merges?name=batch", json={"recipes": [other, LINEAR | SWEEP, LINEAR]})
    assert answer.status_code == 202
    items = answer.json()["items"]
    assert [item["state"] for item in items] == ["written", *["queued"] * 5]
    assert gateway.client.get(f"/jobs/{items[1]['job']}").json()["model"] == items[1]["model"]
    gateway.work()
    assert gateway.client.get("/models/batch-6").json()["id"] == items[5]["model"]
    plans = gateway.client.post("/merges?dry_run=true", json={"recipes": [other, LINEAR]}).json()["items"]
    assert [plan["exists"] for plan in plans] == [True, True]


@pytest.mark.parametrize(
    ("body", "pointers", "hint"),
    [
        (LINEAR | {"materialize": "no"}, ["/materialize"], "true or false"),
        (
            LINEAR | {"sweep": {"models[0].parameters.weight": [1, "x"]}},
            ["/sweep/models[0].parameters.weight/1"],
            "number",
        ),
        (
            LINEAR | {"sweep": {"merge_method": ["linear", "ties"]}},
            ["/base_model"],
            'with merge_method "ties"',
        ),
        (LINEAR | {"sweep": {"models[5].model": ["a"]}}, ["/sweep/models[5].model"], "nothing"),
        ({"recipes": []}, ["/recipes"], "list"),
        ({"recipes": [LINEAR], "dtype": "float32"}, ["/dtype"], "unknown key"),
        ({"recipes": [LINEAR, LINEAR | {"dtype": "int8"}]}, ["/recipes/1/dtype"], "float32"),
        (
            {"recipes": [LINEAR | {"sweep": {"models[1].model": ["general", "genral"]}}]},
            ["/recipes/0/sweep/models[1].model/1"],
            "did you mean 'general'",
        ),
    ],
)
def test_one_that_cannot_work_refuses_them_all(
    gateway: Gateway, body: dict[str, Any], pointers: list[str], hint: str
) -> None:
    problem = assert_problem(gateway.client.post("/merges?name=mine", json=body), 422, *pointers)
    assert hint in problem["detail"]
    assert_nothing_done(gateway)
    assert list((gateway.store.root / "virtual").iterdir()) == []


def _weighted(model: str, weight: float) -> dict[str, Any]:
    return {"model": model, "parameters": {"weight": weight}}
