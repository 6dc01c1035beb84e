"""The commands that keep the registry in order, against a gateway of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from redis import Redis

from service.models.registry import Registry
from service.models.store import Store
from tests.builders.gateway_process import running_gateway
from tests.workers.serving.models import add_model

ONE, TWO = "m_00000000000000a1", "m_00000000000000a2"


@dataclass(frozen=True)
class Place:
    url: str
    data: Path
    redis: "Redis"

    def run(self, *arguments: str, fails: bool = False) -> str:
        """What the program prints: on standard output, or when it fails on both."""
        program = [sys.executable, "-c", "from clients.cli import app; app()"]
        done = subprocess.run(
            [*program, *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"POLYMERGE_URL": self.url},
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done.stdout + (done.stderr if fails else "")


@pytest.fixture(scope="module")
def place(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("data")
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    registry = Registry(Store(data / "store"), redis)
    for ident, name in ((ONE, "safety"), (TWO, "general")):
        registry.add(add_model(registry.store, ident, {"w": torch.zeros(2, 3)}), [name])
    with running_gateway(redis_url, data) as (_, url):
        yield Place(url, data, redis)


def test_verify_names_the_damaged_model_and_fails(place: Place) -> None:
    weights = place.data / "store" / "models" / TWO / "model.safetensors"
    good = weights.read_bytes()
    assert place.run("verify").count("is as it was") == 2
    weights.write_bytes(good[:-1])

    told = place.run("verify", fails=True)

    assert f"{TWO} model {TWO} is damaged: model.safetensors has" in told
    assert f"{ONE} is as it was" in told
    assert [item["state"] for item in json.loads(place.run("models", "--json"))] == ["damaged", "ready"]
    weights.write_bytes(good)
    assert json.loads(place.run("verify", "general", "--json"))[0]["state"] == "ready"


def test_reindex_after_a_flush(place: Place) -> None:
    before = place.run("models")
    place.redis.flushall()

    assert place.run("reindex") == "2 models, 2 aliases\n"

    assert place.run("models") == before


def test_an_alias_is_moved_shown_and_removed(place: Place) -> None:
    place.run("alias", "best", "safety")
    place.run("alias", "best", "general")

    moves = json.loads(place.run("alias", "best", "--delete", "--json"))

    assert [move["model"] for move in moves] == [ONE, TWO, None]


def test_a_model_is_annotated_found_deleted_and_restored(place: Place) -> None:
    place.run("annotate", "safety", "--notes", "gentle", "--tags", "a, b")
    assert [item["tags"] for item in json.loads(place.run("models", "--tag", "b", "--json"))] == [["a", "b"]]

    assert "the alias 'safety' points at it" in place.run("delete", "safety", fails=True)
    assert f"polymerge restore {ONE}" in place.run("delete", "safety", "--force")
    assert f".models.{ONE}" in place.run("gc", "--dry-run")
    assert ONE in place.run("restore", ONE)
    assert "made of:" in place.run("lineage", ONE)
