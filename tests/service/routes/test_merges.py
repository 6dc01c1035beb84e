"""POST /merges: what can work is queued once and made once; what can't is refused at the field."""

import json
import shutil
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from service.models.registry import Registry
from tests.workers.serving.models import add_adapter, add_model

from .conftest import MODELS, Gateway, assert_nothing_done, assert_problem

LINEAR: dict[str, Any] = {
    "merge_method": "linear",
    "models": [
        {"model": "safety", "parameters": {"weight": 0.25}},
        {"model": "general", "parameters": {"weight": 0.75}},
    ],
    "dtype": "float32",
}
TIES: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "safety"}, {"model": "general"}],
    "parameters": {"density": 0.5, "weight": 1.0},
}


def without(recipe: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != key}


@pytest.mark.parametrize("text", [json.dumps(TIES), yaml.safe_dump(TIES)])
def test_a_recipe_is_queued_with_its_models_pinned_to_ids(gateway: Gateway, text: str) -> None:
    answer = gateway.client.post("/merges?name=mine&seed=7", content=text)

    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job["kind"], job["state"], job["name"], job["request"]["seed"]) == ("merge", "queued", "mine", 7)
    recipe = job["request"]["recipe"]
    assert recipe["base_model"] == MODELS["base"]
    assert [item["model"] for item in recipe["models"]] == [MODELS["safety"], MODELS["general"]]
    assert gateway.client.get(answer.headers["location"]).json() == job
    assert gateway.client.get(f"/merges/{job['id']}").json() == job


def test_a_merge_is_made_once_and_then_answered_at_once_under_any_name(gateway: Gateway) -> None:
    first = gateway.client.post("/merges?name=first", json=LINEAR)
    joined = gateway.client.post("/merges?name=joined", json=LINEAR)
    assert joined.status_code == 202
    assert joined.json()["id"] == first.json()["id"]
    gateway.work()
    made = gateway.client.get("/models/first").json()
    assert made["id"] == first.json()["model"]
    assert made["aliases"] == ["first", "joined"]

    again = gateway.client.post("/merges?name=again", json=LINEAR)

    assert again.status_code == 200
    assert again.json() == made | {"aliases": ["again", "first", "joined"], "name": "again"}
    assert len(gateway.client.get("/merges").json()["items"]) == 1


def test_a_model_that_the_index_has_lost_is_answered_from_the_store(gateway: Gateway) -> None:
    gateway.client.post("/merges", json=LINEAR)
    gateway.work()
    model = gateway.client.post("/merges", json=LINEAR).json()
    gateway.redis.hdel("polymerge:models", model["id"])

    assert gateway.client.post("/merges", json=LINEAR).json() == model


def test_a_dry_run_only_plans(gateway: Gateway) -> None:
    answer = gateway.client.post("/merges?dry_run=true", json=TIES | {"dtype": "bfloat16"})

    assert answer.status_code == 200
    plan = answer.json()
    assert (plan["method"], plan["exists"]) == ("ties", False)
    assert plan["sources"] == [MODELS["safety"], MODELS["general"]]
    assert plan["base"] == plan["donor"] == MODELS["base"]
    assert (plan["tensors"], plan["parameters"]) == (1, 6)
    # Three models' 6 float32 are read, and 6 bfloat16 are written.
    assert (plan["bytes_read"], plan["bytes_written"]) == (3 * 6 * 4, 6 * 2)
    assert_nothing_done(gateway)
    queued = gateway.client.post("/merges", json=TIES | {"dtype": "bfloat16"}).json()
    assert queued["model"] == plan["model"]


def test_unknown_keys_are_warnings_where_leniency_is_asked_for(gateway: Gateway) -> None:
    recipe = LINEAR | {"notes": "mine", "parameters": {"int8_mask": True}}
    assert_problem(gateway.client.post("/merges", json=recipe), 422, "/notes")

    plan = gateway.client.post("/merges?dry_run=true&lenient=true", json=recipe).json()
    job = gateway.client.post("/merges", json=recipe | {"strict": False}).json()
    gateway.work()
    model = gateway.client.get(f"/models/{job['model']}").json()
    again = gateway.client.post("/merges?lenient=true", json=recipe).json()

    assert [warning["pointer"] for warning in plan["warnings"]] == ["/notes", "/parameters/int8_mask"]
    assert job["warnings"] == model["warnings"] == again["warnings"] == plan["warnings"]
    assert gateway.client.post("/merges", json=LINEAR).json() == model | {"warnings": []}


def test_documents_and_adapters_are_merged_without_files_in_between(gateway: Gateway) -> None:
    """The same as merging in two steps, to the bit and to the id, and the same seed draws the same mask."""
    layer = "model.layers.0.self_attn.q_proj"
    chance = torch.Generator().manual_seed(1)
    registry = Registry(gateway.store, gateway.redis)
    for number, name in enumerate(("one", "two", "three")):
        tensors = {f"{layer}.weight": torch.randn(8, 8, generator=chance)}
        registry.add(add_model(gateway.store, f"m_{number:016x}", tensors), [name])
    one = gateway.store.manifest("m_" + "0" * 16)
    registry.add(add_adapter(gateway.store, "m_" + "f" * 16, one, layer), ["lora"])
    step = {
        "merge_method": "dare_ties",
        "base_model": "one",
        "models": [{"model": "two+lora"}, {"model": "three"}],
        "parameters": {"weight": 1, "density": 0.5},
    }
    last = {
        "merge_method": "slerp",
        "base_model": "step",
        "models": [{"model": "step"}, {"model": "lora"}],
        "parameters": {"t": 0.3},
    }
    text = yaml.safe_dump_all([step | {"name": "step"}, last])

    plan = gateway.client.post("/merges?dry_run=true&seed=3", content=text).json()
    job = gateway.client.post("/merges?seed=3", content=text).json()
    gateway.work()

    streamed = gateway.client.get(f"/models/{job['model']}").json()
    assert plan["model"] == job["model"]
    assert gateway.client.get(f"/jobs/{job['id']}").json()["progress"]["bytes_done"] == plan["bytes_written"]
    assert set(streamed["sources"]) == {
        "m_" + digit for digit in ("0" * 16, "0" * 15 + "1", "0" * 15 + "2", "f" * 16)
    }
    assert gateway.client.post("/merges?seed=3", json=streamed["recipe"]).json()["id"] == job["model"]
    (between,) = plan["intermediates"]
    assert not gateway.store.has(between)
    weights = load_file(gateway.store.path(job["model"]) / "model.safetensors")
    shutil.rmtree(gateway.store.path(job["model"]))
    gateway.client.post("/merges?name=step&seed=3", json=step)
    gateway.work()
    assert gateway.client.get("/models/step").json()["id"] == between
    assert gateway.client.post("/merges?seed=3", json=last).json()["model"] == job["model"]
    gateway.work()
    in_two_steps = load_file(gateway.store.path(job["model"]) / "model.safetensors")
    assert torch.equal(weights[f"{layer}.weight"], in_two_steps[f"{layer}.weight"])


@pytest.mark.parametrize(
    ("recipe", "pointers", "hint"),
    [
        (TIES | {"merge_method": "tiess"}, ["/merge_method"], "ties"),
        (TIES | {"base": "base"}, ["/base"], "base_model"),
        (TIES | {"parameters": {"densty": 0.5, "weight": 1}}, ["/parameters/densty"], "density"),
        (without(TIES, "base_model"), ["/base_model"], "base_model"),
        (without(TIES, "models"), ["/models"], "models"),
        (TIES | {"base_model": "nobody"}, ["/base_model"], "nobody"),
        (
            LINEAR | {"models": [{"model": "safty"}, {"model": "m_00000000000000ff"}]},
            ["/models/0/model", "/models/1/model"],
            "did you mean 'safety'",
        ),
        (
            TIES | {"models": [{"model": "safety"}, {"model": "wide"}]},
            ["/models/1/model"],
            "3x2 instead of 2x3",
        ),
        (TIES | {"parameters": {"density": 2, "weight": 1}}, None, "density"),
        (LINEAR | {"dtype": "int8"}, ["/dtype"], "float32"),
        ("not a recipe", [""], "mapping"),
        ("", [""], "mapping"),
        ("models: [", [""], "YAML"),
        ("a: &a [1]\nb: *a", [""], "aliases"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(
    gateway: Gateway, recipe: dict[str, Any] | str, pointers: list[str] | None, hint: str
) -> None:
    text = recipe if isinstance(recipe, str) else json.dumps(recipe)

    answer = gateway.client.post("/merges?name=mine", content=text)

    found = [error["pointer"] for error in answer.json()["errors"]]
    problem = assert_problem(answer, 422, *(found if pointers is None else pointers))
    assert hint in problem["detail"]
    assert_nothing_done(gateway)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("name=No%20name", "/name"),
        ("name=m_0123456789abcdef", "/name"),
        ("seed=-1", "/seed"),
        ("seed=x", "/seed"),
        ("dry_run=perhaps", "/dry_run"),
    ],
)
def test_a_bad_option_is_refused(gateway: Gateway, query: str, pointer: str) -> None:
    assert_problem(gateway.client.post(f"/merges?{query}", json=LINEAR), 422, pointer)
    assert_nothing_done(gateway)


def test_a_recipe_beyond_all_measure_is_not_read(gateway: Gateway) -> None:
    assert_problem(gateway.client.post("/merges", content=b" " * 300_000), 413)


def test_merges_are_listed_page_by_page(gateway: Gateway) -> None:
    ids = [
        gateway.client.post("/merges", json=LINEAR | {"parameters": {"normalize": number}}).json()["id"]
        for number in (False, True)
    ]
    page = gateway.client.get("/merges?limit=1").json()
    assert [job["id"] for job in page["items"]] == [ids[1]]
    following = gateway.client.get("/merges", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in following["items"]] == [ids[0]]
    assert following["next_cursor"] is None

    assert_problem(gateway.client.get("/merges?cursor=j_0000000000000000"), 422, "/cursor")
    assert_problem(gateway.client.get("/merges?limit=0"), 422, "/limit")


def test_every_method_is_listed_with_the_schema_of_its_parameters(gateway: Gateway) -> None:
    methods = {method["name"]: method for method in gateway.client.get("/methods").json()}

    assert {"linear", "slerp", "ties", "dare_ties"} <= methods.keys()
    assert "density" in methods["ties"]["model_parameters"]["properties"]
