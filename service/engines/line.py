"""Requests of one gateway that wait for the same model, in the order in which they came."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Place(Generic[T]):
    """Waits until `given` has what the line is for, or the reason why it never will."""

    given: asyncio.Future[T]
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class Line(Generic[T]):
    def __init__(self) -> None:
        self.places: list[Place[T]] = []

    def join(self) -> Place[T]:
        place: Place[T] = Place(asyncio.get_running_loop().create_future())
        self.places.append(place)
        return place

    def leave(self, place: Place[T]) -> None:
        """Whether it was given something or not."""
        place.given.cancel()
        if place in self.places:
            self.places.remove(place)

    def first(self) -> Place[T] | None:
        """Who has waited longest."""
        return self.places[0] if self.places else None

    def give(self, place: Place[T], what: T) -> bool:
        """False if the place has been left meanwhile."""
        if place not in self.places:
            return False
        self.places.remove(place)
        place.given.set_result(what)
        return True

    def fail(self, error: Exception) -> None:
        """Tell everybody, and let them go."""
        for place in self.places:
            place.given.set_exception(error)
        self.places.clear()
