"""A model that is exported is, to the bit, the one that the service has, and transformers loads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from redis import Redis

from clients.sdk.client import Polymerge
from clients.sdk.errors import ProblemError
from clients.sdk.export import ExportError
from service.models.registry import Registry
from service.models.store import Store
from tests.builders.gateway_process import running_gateway
from tests.builders.tiny_llama import add_tiny_llama

MODEL = "m_00000000000000a1"


@pytest.fixture(scope="module")
def registry(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    redis = Redis.from_url(redis_url)
    redis.flushdb()
    registry = Registry(Store(tmp_path_factory.mktemp("data") / "store"), redis)
    registry.add(add_tiny_llama(registry.store, MODEL, seed=1), ["tiny"])
    return registry


@pytest.fixture(scope="module")
def service(registry: Registry, redis_url: str) -> Iterator[Polymerge]:
    with running_gateway(redis_url, registry.store.root.parent) as (_, url), Polymerge(url) as service:
        yield service


def test_transformers_loads_what_was_exported(service: Polymerge, registry: Registry, tmp_path: Path) -> None:
    service.models.export("tiny", tmp_path / "out")

    loaded = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    original = hf.AutoModelForCausalLM.from_pretrained(registry.store.path(MODEL))
    tokens = torch.arange(10)[None]
    assert torch.equal(loaded(tokens).logits, original(tokens).logits)
    assert hf.AutoTokenizer.from_pretrained(tmp_path / "out")("ab")["input_ids"]


def test_an_export_that_was_cut_short_is_completed(service: Polymerge, tmp_path: Path) -> None:
    service.models.export("tiny", tmp_path)
    weights = tmp_path / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:100])
    (tmp_path / "model.safetensors.part").write_bytes(good[:50])

    service.models.export("tiny", tmp_path)

    assert weights.read_bytes() == good
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_with_something_else_in_it_is_left_alone(service: Polymerge, tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"mine")

    with pytest.raises(ExportError, match="other files"):
        service.models.export("tiny", tmp_path)

    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_model_is_not_handed_out(service: Polymerge, registry: Registry, tmp_path: Path) -> None:
    registry.set_damage(MODEL, "config.json is missing")
    try:
        with pytest.raises(ProblemError, match="out of service"):
            service.models.export("tiny", tmp_path / "out")
    finally:
        registry.set_damage(MODEL, None)


@pytest.mark.parametrize("name", ["..%2f..%2faliases%2ftiny", "manifest.json", "nothing"])
def test_files_that_are_not_the_models_are_not_served(service: Polymerge, name: str) -> None:
    with (
        pytest.raises(ProblemError) as error,
        service._connection.download(f"/models/tiny/files/{name}") as chunks,
    ):
        next(chunks)
    assert error.value.problem.status == 404
