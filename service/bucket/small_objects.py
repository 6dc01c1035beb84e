"""Aliases, notes and damage as objects of a bucket, each written in one step."""

from service.bucket.objects import Objects


class SmallObjects:
    """SmallFiles (service/models/small_files.py) in a bucket."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def read(self, key: str) -> str | None:
        try:
            return self._objects.get(key).decode()
        except FileNotFoundError:
            return None

    def write(self, key: str, content: str) -> None:
        self._objects.put(key, content.encode())

    def remove(self, key: str) -> None:
        self._objects.delete(key)

    def names(self, folder: str) -> list[str]:
        below = (found.key.removeprefix(f"{folder}/") for found in self._objects.below(f"{folder}/"))
        return sorted({name.partition("/")[0] for name in below})
