"""The index over the store: found by id and alias, and rebuilt from the folders alone."""

from pathlib import Path

import pytest
import torch
from redis import Redis

from service.models.registry import Registry, UnknownModel
from service.models.store import Store
from tests.workers.serving.models import add_model

ONE, TWO = "m_00000000000000a1", "m_00000000000000a2"


@pytest.fixture
def registry(redis: "Redis", tmp_path: Path) -> Registry:
    """With two models, the second one newer, under two names and one."""
    registry = Registry(Store(tmp_path / "store"), redis)
    for ident, names in ((ONE, ["safety", "base"]), (TWO, ["general"])):
        registry.add(add_model(registry.store, ident, {"w": torch.zeros(2, 3)}), names)
    return registry


def test_a_model_is_found_by_its_id_and_by_each_of_its_names(registry: Registry) -> None:
    assert {registry.resolve(name) for name in (ONE, "safety", "base")} == {ONE}
    found = registry.get("safety")
    assert (found.id, found.aliases, found.tensors) == (ONE, ["base", "safety"], 1)
    assert [model.id for model in registry.models()] == [TWO, ONE]


def test_an_alias_moves(registry: Registry) -> None:
    registry.set_alias("base", TWO)

    assert registry.resolve("base") == TWO
    assert registry.get(ONE).aliases == ["safety"]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [("safty", "did you mean 'safety'"), ("m_00000000000000a9", "no model"), ("", "no model")],
)
def test_an_unknown_model_is_said_to_be_with_the_nearest_name(
    registry: Registry, reference: str, hint: str
) -> None:
    with pytest.raises(UnknownModel, match=hint):
        registry.get(reference)


def test_after_a_flush_reindexing_gives_the_same_listing(registry: Registry, redis: "Redis") -> None:
    before = registry.models()
    redis.flushall()
    assert registry.models() == []

    assert registry.reindex() == 2

    assert registry.models() == before
    assert registry.aliases() == {"safety": ONE, "base": ONE, "general": TWO}


def test_reindexing_forgets_what_the_store_has_lost(registry: Registry) -> None:
    registry.store.path(ONE).rename(registry.store.root / "elsewhere")
    (registry.store.root / "aliases" / "general").unlink()

    assert registry.reindex() == 1

    assert [model.id for model in registry.models()] == [TWO]
    assert registry.aliases() == {}
