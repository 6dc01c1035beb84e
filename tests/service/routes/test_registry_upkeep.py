"""Models that are damaged, and an index that was lost, over HTTP."""

from pathlib import Path

from .conftest import MODELS, Gateway, assert_problem


def _weights(gateway: Gateway, name: str) -> Path:
    return gateway.store.path(MODELS[name]) / "model.safetensors"


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_model_with_a_changed_file_is_out_of_service_until_the_file_is_as_it_was(gateway: Gateway) -> None:
    assert gateway.client.post("/models/safety/verify").json()["state"] == "ready"
    weights = _weights(gateway, "safety")
    good = weights.read_bytes()
    _flip_a_bit(weights)

    found = gateway.client.post("/models/safety/verify").json()

    assert (found["model"], found["state"]) == (MODELS["safety"], "damaged")
    assert "model.safetensors has other bytes" in found["damage"]
    shown = gateway.client.get("/models/safety").json()
    assert (shown["state"], shown["damage"]) == ("damaged", found["damage"])
    told = assert_problem(gateway.client.post("/generate", json={"model": "safety", "prompt": "Hi"}), 409)
    assert told["type"] == "damaged-model"
    assert found["damage"] in told["detail"]
    recipe = {"merge_method": "linear", "models": [{"model": "safety"}, {"model": "general"}]}
    refused = assert_problem(gateway.client.post("/merges", json=recipe), 422, "/models/0/model")
    assert "out of service" in refused["detail"]
    asked = gateway.client.post("/v1/completions", json={"model": "safety", "prompt": "Hi"})
    assert (asked.status_code, asked.json()["error"]["code"]) == (409, "damaged-model")
    assert "safety" not in [model["id"] for model in gateway.client.get("/v1/models").json()["data"]]

    weights.write_bytes(good)
    assert gateway.client.post(f"/models/{MODELS['safety']}/verify").json()["state"] == "ready"
    assert gateway.registry.usable("safety") == MODELS["safety"]


def test_a_truncated_and_a_missing_file_are_told_apart(gateway: Gateway) -> None:
    _weights(gateway, "safety").write_bytes(b"short")
    _weights(gateway, "general").unlink()

    damage = [
        gateway.client.post(f"/models/{name}/verify").json()["damage"] for name in ("safety", "general")
    ]

    assert "model.safetensors has 5 bytes, not" in damage[0]
    assert "model.safetensors is missing" in damage[1]


def test_a_damaged_merge_is_made_again_when_it_is_asked_for_again(gateway: Gateway) -> None:
    recipe = {"merge_method": "linear", "models": [{"model": "safety"}, {"model": "general"}],
              "parameters": {"weight": 0.5}}  # fmt: skip
    model = gateway.client.post("/merges?name=mixed", json=recipe).json()["model"]
    gateway.work()
    good = (gateway.store.path(model) / "model.safetensors").read_bytes()
    _flip_a_bit(gateway.store.path(model) / "model.safetensors")
    assert gateway.client.post("/models/mixed/verify").json()["state"] == "damaged"

    assert gateway.client.post("/merges", json=recipe).status_code == 202
    gateway.work()

    assert gateway.client.get("/models/mixed").json()["state"] == "ready"
    assert (gateway.store.path(model) / "model.safetensors").read_bytes() == good
    assert gateway.client.post("/models/mixed/verify").json()["state"] == "ready"


def test_after_a_flush_reindexing_brings_back_aliases_virtual_models_and_damage(gateway: Gateway) -> None:
    recipe = {"merge_method": "linear", "models": [{"model": "safety"}, {"model": "general"}],
              "parameters": {"weight": 0.5}, "materialize": False}  # fmt: skip
    assert gateway.client.post("/merges?name=thought", json=recipe).json()["virtual"]
    _flip_a_bit(_weights(gateway, "wide"))
    gateway.client.post("/models/wide/verify")
    models, aliases = gateway.client.get("/models").json(), gateway.client.get("/aliases").json()
    gateway.redis.flushall()
    assert gateway.client.get("/models").json()["items"] == []

    assert gateway.client.post("/store/reindex").json() == {"models": 5, "aliases": 5}

    assert gateway.client.get("/models").json() == models
    assert gateway.client.get("/aliases").json() == aliases
    assert_problem(gateway.client.post("/generate", json={"model": "wide", "prompt": "Hi"}), 409)
