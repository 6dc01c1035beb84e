"""The OpenAPI document is one."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from service.app import create_app
from service.errors import is_openai
from service.settings import Settings


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def look_up(document: Any, reference: str) -> Any:
    """What a JSON pointer in a URI fragment stands for. Raises KeyError."""
    assert reference.startswith("#/")
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def test_it_is_valid_and_every_reference_resolves(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    found = set(references(document))
    assert len(found) > 20
    for reference in found:
        assert isinstance(look_up(document, reference), dict), reference


def test_a_recipe_is_described_as_it_is_written(document: dict[str, Any]) -> None:
    content = document["paths"]["/merges"]["post"]["requestBody"]["content"]
    body = content["application/json"]["schema"]
    assert look_up(document, content["application/yaml"]["schema"]["$ref"]) == body
    one, several, documents = body["anyOf"]
    recipe = look_up(document, one["$ref"])

    assert {"sweep", "materialize"} <= recipe["properties"].keys()
    assert {"recipes", "materialize"} == look_up(document, several["$ref"])["properties"].keys()
    assert look_up(document, documents["items"]["$ref"])["properties"].keys() < recipe["properties"].keys()
    assert {"merge_method", "models", "slices", "base_model", "parameters", "dtype"} <= recipe[
        "properties"
    ].keys()
    setting = recipe["properties"]["parameters"]["additionalProperties"]["anyOf"]
    assert {"type": ["number", "boolean"]} in setting


def test_every_operation_says_what_its_errors_look_like(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        media, name = "application/problem+json", "Problem"
        if is_openai(path):
            media, name = "application/json", "OpenAIProblem"
        for operation in operations.values():
            described = {
                status: response["content"][media]["schema"]
                for status, response in operation["responses"].items()
                if int(status) >= 400 and status != "416"
            }
            assert {"500", "503"} <= described.keys(), path
            assert "413" in described or "requestBody" not in operation
            for schema in described.values():
                assert schema == {"$ref": f"#/components/schemas/{name}"}


def test_openai_s_paths_are_told_from_models_with_such_names() -> None:
    assert all(map(is_openai, ["/v1/models", "/models/x/v1/models", "/tokenize", "/models/x/tokenizer_info"]))
    assert not any(map(is_openai, ["/models/v1/lineage", "/models/tokenize", "/generate", "/v1"]))
