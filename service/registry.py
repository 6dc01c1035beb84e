"""The index of the store in Redis: what exists and under which aliases. Rebuilt from disk at any time."""

import re
from collections.abc import Iterable
from datetime import datetime

from redis import Redis

from service.connection import text
from service.contracts.model import Manifest, Model
from service.contracts.names import MODEL_ID_PATTERN
from service.recipes.refusal import nearest
from service.store import Store

MODELS = "polymerge:models"
ALIASES = "polymerge:aliases"


class UnknownModel(LookupError):
    """No model has this id or alias; the message names the nearest that exists."""


class Registry:
    """Store first, index second: a crash between the two is mended by reindex()."""

    def __init__(self, store: Store, redis: "Redis") -> None:
        self.store = store
        self._redis = redis

    def reindex(self) -> int:
        """Make the index equal to the store; returns how many models there are.

        Nothing that is in the store is out of the index meanwhile: workers may be adding to both.
        """
        count = 0
        for manifest in self.store.manifests():
            self._redis.hset(MODELS, manifest.id, summarise(manifest).model_dump_json())
            count += 1
        for model_id in map(text, self._redis.hkeys(MODELS)):
            if not self.store.has(model_id):
                self._redis.hdel(MODELS, model_id)
        # Aliases are written to the store first: one that was listed here and is not there now is gone.
        listed = self.aliases()
        kept = {name: target for name, target in self.store.aliases().items() if self.store.has(target)}
        for name in listed.keys() - kept.keys():
            self._redis.hdel(ALIASES, name)
        for name, target in kept.items():
            self._redis.hset(ALIASES, name, target)
        return count

    def add(self, manifest: Manifest, names: Iterable[str] = ()) -> None:
        """Index a model that the store has, and point `names` at it."""
        self._redis.hset(MODELS, manifest.id, summarise(manifest).model_dump_json())
        for name in names:
            self.set_alias(name, manifest.id)

    def set_alias(self, name: str, model_id: str) -> None:
        self.store.set_alias(name, model_id)
        self._redis.hset(ALIASES, name, model_id)

    def aliases(self) -> dict[str, str]:
        return {text(name): text(target) for name, target in self._redis.hgetall(ALIASES).items()}

    def resolve(self, reference: str) -> str:
        """The id behind an id or alias. Raises UnknownModel."""
        if re.fullmatch(MODEL_ID_PATTERN, reference) and self._redis.hexists(MODELS, reference):
            return reference
        target = self._redis.hget(ALIASES, reference)
        if target is None:
            raise UnknownModel(f"no model '{reference}' is registered: {nearest(reference, self.aliases())}")
        return text(target)

    def get(self, reference: str) -> Model:
        """Raises UnknownModel."""
        model_id = self.resolve(reference)
        raw = self._redis.hget(MODELS, model_id)
        if raw is None:
            raise UnknownModel(f"no model '{reference}' is registered")
        names = [name for name, target in self.aliases().items() if target == model_id]
        return _named(Model.model_validate_json(raw), names)

    def models(self) -> list[Model]:
        """All of them, newest first."""
        by_target: dict[str, list[str]] = {}
        for name, target in self.aliases().items():
            by_target.setdefault(target, []).append(name)
        found = [Model.model_validate_json(raw) for raw in self._redis.hvals(MODELS)]
        named = [_named(model, by_target.get(model.id, [])) for model in found]
        return sorted(named, key=_newest_first, reverse=True)


def summarise(manifest: Manifest) -> Model:
    shared = manifest.model_dump(include=set(Model.model_fields) - {"tensors", "name", "aliases"})
    return Model(**shared, tensors=len(manifest.tensors))


def _named(model: Model, names: list[str]) -> Model:
    return model.model_copy(update={"aliases": sorted(names), "name": min(names) if names else None})


def _newest_first(model: Model) -> tuple[datetime, str]:
    return model.created_at, model.id
