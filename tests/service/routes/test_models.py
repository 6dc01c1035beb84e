"""Models and aliases over HTTP: imported, listed by label and page by page, pointed at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.sources.build import checkpoint

from .conftest import MODELS, Gateway, assert_nothing_done, assert_problem


def test_an_imported_model_has_its_labels_and_is_found_by_them(gateway: Gateway) -> None:
    checkpoint(gateway.sources / "mine")
    body = {
        "source": {"folder": "mine"},
        "name": "mine",
        "languages": ["fr", "hi"],
        "objective": "safety",
        "license": "apache-2.0",
    }
    answer = gateway.client.post("/models", json=body)
    assert answer.status_code == 202
    gateway.work()

    job = gateway.client.get(answer.headers["location"]).json()
    assert (job["state"], job["error"]) == ("succeeded", None)
    model = gateway.client.get("/models/mine").json()
    assert model["id"] == job["model"]
    assert (model["kind"], model["weights"], model["tensors"]) == ("import", "checkpoint", 1)
    assert (model["languages"], model["objective"], model["license"]) == (
        ["fr", "hi"],
        "safety",
        "apache-2.0",
    )
    for query, found in (("language=hi", True), ("objective=safety", True), ("language=es", False)):
        assert (gateway.client.get(f"/models?{query}").json()["items"] == [model]) is found


def _pickle(folder: Path) -> None:
    (checkpoint(folder) / "model.safetensors").rename(folder / "pytorch_model.bin")


def _truncated(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("make", "hint"), [(_pickle, "pickle"), (_truncated, "model.safetensors")])
def test_a_source_that_cannot_be_used_is_refused(
    gateway: Gateway, make: Callable[[Path], None], hint: str
) -> None:
    make(gateway.sources / "bad")

    answer = gateway.client.post("/models", json={"source": {"folder": "bad"}, "name": "bad"})

    assert hint in assert_problem(answer, 422, "/source/folder")["detail"]
    assert_nothing_done(gateway)


def test_a_body_that_is_not_json_is_refused_as_a_whole(gateway: Gateway) -> None:
    headers = {"content-type": "application/json"}

    answer = gateway.client.post("/models", content=b'{"source": ', headers=headers)

    assert "JSON" in assert_problem(answer, 422, "")["detail"]


def test_a_key_that_cannot_be_encoded_is_refused(gateway: Gateway) -> None:
    headers = {"content-type": "application/json"}
    body = rb'{"source": {"folder": "x"}, "\ud800": "\ud800"}'

    assert_problem(gateway.client.post("/models", content=body, headers=headers), 422, "")


def test_models_are_listed_newest_first_page_by_page(gateway: Gateway) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        page = gateway.client.get("/models", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        seen += [model["id"] for model in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break

    assert seen == list(MODELS.values())[::-1]
    assert_problem(gateway.client.get("/models?cursor=m_00000000000000ff"), 422, "/cursor")


def test_an_unknown_model_is_404_with_the_nearest_name(gateway: Gateway) -> None:
    problem = assert_problem(gateway.client.get("/models/safty"), 404)

    assert (problem["type"], "'safety'" in problem["detail"]) == ("unknown-model", True)
    assert_problem(gateway.client.get("/models/m_00000000000000ff"), 404)


def test_an_alias_points_where_it_was_put_last(gateway: Gateway) -> None:
    for model in ("safety", MODELS["general"]):
        assert gateway.client.put("/aliases/best", json={"model": model}).status_code == 200

    assert gateway.client.get("/models/best").json()["id"] == MODELS["general"]
    assert {"name": "best", "model": MODELS["general"]} in gateway.client.get("/aliases").json()


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("best", {"model": "nobody"}, "/model"),
        ("best", {"model": "../../etc"}, "/model"),
        ("best", {"model": "safety", "force": True}, "/force"),
        ("m_0123456789abcdef", {"model": "safety"}, "/name"),
        ("Best", {"model": "safety"}, "/name"),
    ],
)
def test_a_bad_alias_is_refused(gateway: Gateway, name: str, body: dict[str, object], pointer: str) -> None:
    assert_problem(gateway.client.put(f"/aliases/{name}", json=body), 422, pointer)
    assert_nothing_done(gateway)
