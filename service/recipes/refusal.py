"""The exception behind every 422: what is wrong with a recipe or a source, field by field."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from service.contracts.problem import FieldProblem, json_pointer


class Refused(Exception):
    """A recipe or a source that can't be used as it is. Never retried; nothing has been queued."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.pointer or '/'}: {p.detail}" for p in problems))
        self.problems = problems


def refuse(*pointer: str | int, detail: str) -> Refused:
    """A Refused with a single problem at `pointer`."""
    return Refused([FieldProblem(pointer=json_pointer(*pointer), detail=detail)])


@contextmanager
def within(*place: str | int) -> Iterator[None]:
    """Whatever is refused inside is at `place` in all that was sent."""
    try:
        yield
    except Refused as error:
        prefix = json_pointer(*place)
        raise Refused(
            [problem.model_copy(update={"pointer": prefix + problem.pointer}) for problem in error.problems]
        ) from None


def nearest(name: str, valid: Iterable[str]) -> str:
    """A question after the valid name that is nearest, else the list of all."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(names)}" if names else "none is valid here"
