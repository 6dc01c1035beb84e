"""The index of the store in Redis: what exists and under which aliases. Rebuilt from disk at any time."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from redis import Redis

from service.connection import text
from service.contracts.model import Manifest, Model, ModelChange, ModelNotes
from service.contracts.names import MODEL_ID_PATTERN
from service.models.store import Store
from service.recipes.labels import merge_method
from service.recipes.refusal import nearest

MODELS = "polymerge:models"
ALIASES = "polymerge:aliases"
DAMAGED = "polymerge:damaged"
_LOCK_SECONDS = 30


class UnknownModel(LookupError):
    """No model has this id or alias; the message names the nearest that exists."""


class DamagedModel(LookupError):
    """The model is out of service; the message says why and what to do."""


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
        annotated = self.store.annotations.annotated()
        for manifest in self.store.manifests():
            self._index(manifest, manifest.id in annotated)
            count += 1
        for model_id in map(text, self._redis.hkeys(MODELS)):
            if not self.store.has(model_id):
                self._forget(model_id)
        # Aliases are written to the store first: one that was listed here and is not there now is gone.
        listed = self.aliases()
        pointed = self.store.annotations.aliases()
        kept = {name: target for name, target in pointed.items() if self.store.has(target)}
        for name in listed.keys() - kept.keys():
            self._redis.hdel(ALIASES, name)
        for name, target in kept.items():
            self._redis.hset(ALIASES, name, target)
        return count

    def add(self, manifest: Manifest, names: Iterable[str] = ()) -> None:
        """Index a model that the store has, and point `names` at it."""
        self._index(manifest)
        for name in names:
            self.set_alias(name, manifest.id)

    def remove(self, model_id: str) -> None:
        """Move the model to the trash; names that it has point at nothing then."""
        for name, target in self.aliases().items():
            if target == model_id:
                self.remove_alias(name)
        self.store.remove(model_id)
        self._forget(model_id)

    def set_alias(self, name: str, model_id: str) -> None:
        with self._alone(f"alias:{name}"):
            self.store.annotations.point(name, model_id)
            self._redis.hset(ALIASES, name, model_id)

    def remove_alias(self, name: str) -> None:
        with self._alone(f"alias:{name}"):
            self.store.annotations.point(name, None)
            self._redis.hdel(ALIASES, name)

    def annotate(self, model_id: str, change: ModelChange) -> None:
        """Change notes and tags; what `change` leaves out stays."""
        with self._alone(f"model:{model_id}"):
            notes = self.store.annotations.notes(model_id)
            changed = notes.model_copy(update=change.model_dump(exclude_none=True))
            self.store.annotations.write_notes(model_id, changed)
            self._index(self.store.manifest(model_id))

    def set_damage(self, model_id: str, reason: str | None) -> None:
        """Take the model out of service, or (None) back into it."""
        with self._alone(f"model:{model_id}"):
            self.store.annotations.set_damage(model_id, reason)
            raw = self._redis.hget(MODELS, model_id)
            if raw is not None:
                self._write(Model.model_validate_json(raw), reason)

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

    def usable(self, reference: str) -> str:
        """The id of a model that can be asked and merged. Raises UnknownModel, DamagedModel."""
        model_id = self.resolve(reference)
        damage = self._redis.hget(DAMAGED, model_id)
        if damage is not None:
            raise DamagedModel(
                f"{text(damage)}; it is out of service: put the file back and verify the model, "
                "or import or merge it again"
            )
        return model_id

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

    def _index(self, manifest: Manifest, annotated: bool = True) -> None:
        annotations = self.store.annotations
        notes = annotations.notes(manifest.id) if annotated else ModelNotes()
        damage = annotations.damage(manifest.id) if annotated else None
        self._write(summarise(manifest).model_copy(update=notes.model_dump()), damage)

    def _write(self, model: Model, damage: str | None) -> None:
        state = {"state": "ready" if damage is None else "damaged", "damage": damage}
        with self._redis.pipeline() as pipe:
            pipe.hset(MODELS, model.id, model.model_copy(update=state).model_dump_json())
            if damage is None:
                pipe.hdel(DAMAGED, model.id)
            else:
                pipe.hset(DAMAGED, model.id, damage)
            pipe.execute()

    def _forget(self, model_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.hdel(MODELS, model_id)
            pipe.hdel(DAMAGED, model_id)
            pipe.execute()

    def _alone(self, what: str) -> Any:
        """So that store and index are changed in the same order."""
        return self._redis.lock(f"polymerge:lock:{what}", timeout=_LOCK_SECONDS)


def summarise(manifest: Manifest) -> Model:
    shared = manifest.model_dump(include=set(Model.model_fields) - {"tensors", "name", "aliases"})
    return Model(**shared, tensors=len(manifest.tensors), method=merge_method(manifest.recipe))


def _named(model: Model, names: list[str]) -> Model:
    return model.model_copy(update={"aliases": sorted(names), "name": min(names) if names else None})


def _newest_first(model: Model) -> tuple[datetime, str]:
    return model.created_at, model.id
