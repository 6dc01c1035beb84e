"""Which rows of which models the rows of an embedding in the result's vocabulary are."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.recipes.vocabulary.result import Row, Vocabulary


@dataclass(frozen=True)
class Run:
    """Rows start to stop - 1 of a model's embedding: means of as many consecutive rows of every source."""

    start: int
    stop: int
    sources: tuple[Row, ...] | None
    """Model and first row. Without any the rows are zero; None: they are the mean of all other runs' rows."""


def runs(vocabulary: Vocabulary, model: str) -> list[Run]:
    """All rows of the result, in order, in as few runs as there can be."""
    found: list[Run] = []
    start, first = 0, None
    for row, sources in enumerate(_rows(vocabulary, model)):
        if row and sources != _following(first, row - start):
            found.append(Run(start, row, first))
            start = row
        if row == start:
            first = sources
    return [*found, Run(start, vocabulary.rows, first)]


def _following(sources: tuple[Row, ...] | None, rows: int) -> tuple[Row, ...] | None:
    """What a run that begins with `sources` has `rows` rows later."""
    return sources and tuple((model, first + rows) for model, first in sources)


def _rows(vocabulary: Vocabulary, model: str) -> Iterator[tuple[Row, ...] | None]:
    tokens, height = vocabulary.models[model], vocabulary.heights[model]
    named = set(tokens.values())
    by_row = {row: token for token, row in vocabulary.tokens.items()}
    for row in range(vocabulary.rows):
        token = by_row.get(row)
        if token is not None:
            own = tokens.get(token)
            forced = token in vocabulary.forced
            yield vocabulary.lent(token) if own is None or forced else ((model, own),)
        elif row < height and row not in named:
            # Rows that stand for no token, as in vocabularies padded to a round number, stay as they are.
            yield ((model, row),)
        else:
            yield None
