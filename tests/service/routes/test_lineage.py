"""Where models come from, and finding them by what they are."""

from typing import Any

import pytest

from tests.workers.serving.models import add_adapter

from .conftest import MODELS, Gateway, assert_problem


@pytest.fixture
def family(gateway: Gateway) -> dict[str, str]:
    """base -> (mixed: safety + general over base) -> (again: mixed + general), an adapter on base."""
    mixed = {"merge_method": "task_arithmetic", "base_model": "base", "parameters": {"weight": 0.5},
             "models": [{"model": "safety"}, {"model": "general"}]}  # fmt: skip
    again = {"merge_method": "linear", "parameters": {"weight": 0.5}, "materialize": False,
             "models": [{"model": "mixed"}, {"model": "general"}]}  # fmt: skip
    assert gateway.client.post("/merges?name=mixed", json=mixed).status_code == 202
    gateway.work()
    assert gateway.client.post("/merges?name=again", json=again).status_code == 200
    base = gateway.store.manifest(MODELS["base"])
    adapter = add_adapter(gateway.store, "m_00000000000000ad", base, "model.layers.0.mlp.up_proj")
    gateway.registry.add(adapter, ["lora"])
    return gateway.registry.aliases()


def test_lineage_goes_up_and_down_and_names_the_roles(gateway: Gateway, family: dict[str, str]) -> None:
    graph = gateway.client.get("/models/mixed/lineage").json()

    assert graph["model"] == family["mixed"]
    assert _edges(graph) == {
        (family["base"], family["mixed"], "base"),
        (family["safety"], family["mixed"], "ingredient"),
        (family["general"], family["mixed"], "ingredient"),
        (family["mixed"], family["again"], "ingredient"),
    }
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert (nodes[family["mixed"]]["method"], nodes[family["again"]]["virtual"]) == ("task_arithmetic", True)
    below = gateway.client.get("/models/base/lineage").json()
    assert (family["base"], family["lora"], "base") in _edges(below)
    assert (family["general"], family["again"], "ingredient") not in _edges(below)


def test_a_deleted_ancestor_stays_in_the_graph(gateway: Gateway, family: dict[str, str]) -> None:
    assert gateway.client.delete("/models/safety?force=true").status_code == 204

    graph = gateway.client.get("/models/mixed/lineage").json()

    gone = next(node for node in graph["nodes"] if node["id"] == family["safety"])
    assert (gone["present"], gone["kind"]) == (False, None)
    assert (family["safety"], family["mixed"], "ingredient") in _edges(graph)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("method=task_arithmetic", ["mixed"]),
        ("base=base", ["lora", "mixed"]),
        ("kind=merge", ["again", "mixed"]),
        ("tag=paper", ["safety"]),
        ("tag=paper&kind=merge", []),
        ("q=GENTLE", ["safety"]),
        ("q=mix", ["mixed"]),
        ("state=damaged", []),
    ],
)
def test_models_are_found_by_what_they_are(
    gateway: Gateway, family: dict[str, str], query: str, names: list[str]
) -> None:
    gateway.client.patch("/models/safety", json={"tags": ["paper", "v2"], "notes": "the gentle one"})

    items = gateway.client.get(f"/models?{query}").json()["items"]

    assert sorted(item["name"] for item in items) == names


def test_an_unknown_base_is_refused(gateway: Gateway) -> None:
    assert_problem(gateway.client.get("/models?base=nobody"), 422, "/base")


def _edges(graph: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(edge["source"], edge["target"], edge["role"]) for edge in graph["edges"]}
