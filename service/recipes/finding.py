"""What a check of a recipe finds, before it is decided whether that is an error or a warning."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from service.contracts.problem import FieldProblem, Place, json_pointer


@dataclass(frozen=True)
class Finding:
    """Something wrong at a place."""

    place: Place
    detail: str
    ignorable: bool = False
    """A key that nobody reads: a lenient reader passes over it."""
    idle: bool = False
    """A key that another method reads: every reader passes over it, as mergekit does, but says so."""

    def problem(self, *prefix: str | int) -> FieldProblem:
        """As an answer tells it; `prefix` is the place of what was checked in all that was sent."""
        return FieldProblem(pointer=json_pointer(*prefix, *self.place), detail=self.detail)


def without(document: Any, findings: Iterable[Finding]) -> Any:
    """A copy of the document that lacks the keys in question."""
    changed = deepcopy(document)
    for finding in findings:
        *path, key = finding.place
        node = changed
        for part in path:
            node = node[part]
        node.pop(key, None)
    return changed
