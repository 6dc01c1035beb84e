"""The manifests in a bucket: a model is there when its manifest is.

models/<id>/manifest.json    virtual/<id>/manifest.json    trash/<time>.<root>.<id>/manifest.json
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from service.bucket.objects import Objects
from service.contracts.model import Manifest
from service.models.store import MANIFEST, STAMP

_AT_ONCE = 16
"""Manifests that are read at a time."""


class Manifests:
    """Raises BucketAway."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def size(self, root: str, name: str) -> int | None:
        """In bytes; None when there is none."""
        found = self._objects.find(_key(root, name))
        return found.size if found else None

    def read(self, root: str, name: str) -> Manifest:
        """Raises FileNotFoundError."""
        return Manifest.model_validate_json(self._objects.get(_key(root, name)))

    def read_model(self, model_id: str) -> Manifest:
        """Of the written model if there is one, else of the virtual one. Raises FileNotFoundError."""
        with suppress(FileNotFoundError):
            return self.read("models", model_id)
        return self.read("virtual", model_id)

    def read_all(self, found: Iterable[tuple[str, str]]) -> Iterator[Manifest | None]:
        """By root and name; None for one that is gone.

        Raises pydantic's ValidationError: whoever deletes by what this says must not pass any over.
        """

        def read(place: tuple[str, str]) -> Manifest | None:
            with suppress(FileNotFoundError):
                return self.read(*place)
            return None

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            yield from threads.map(read, found)

    def names(self, root: str) -> set[str]:
        keys = (found.key for found in self._objects.below(f"{root}/"))
        return {key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")}

    def publish(self, root: str, manifest: Manifest) -> bool:
        """From now on the model is there; False when it was already."""
        content = manifest.model_dump_json(indent=1, by_alias=True).encode()
        return self._objects.put_new(_key(root, manifest.id), content)

    def trash(self, root: str, model_id: str) -> None:
        """From now on the model is not there, but in the trash."""
        try:
            content = self._objects.get(_key(root, model_id))
        except FileNotFoundError:
            return
        stamp = datetime.now(UTC).strftime(STAMP)
        self._objects.put(_key("trash", f"{stamp}.{root}.{model_id}"), content)
        self._objects.delete(_key(root, model_id))

    def restore(self, name: str) -> None:
        """Back from the trash, unless the model is there again."""
        _, root, model_id = name.split(".")
        if self._objects.put_new(_key(root, model_id), self._objects.get(_key("trash", name))):
            self.delete("trash", name)

    def delete(self, root: str, name: str) -> None:
        self._objects.delete(_key(root, name))


def _key(root: str, name: str) -> str:
    return f"{root}/{name}/{MANIFEST}"
