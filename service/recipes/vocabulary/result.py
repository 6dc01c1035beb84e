"""The result's vocabulary: its tokens with their ids, the height of its embeddings, who lends rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from service.contracts.problem import Place
from service.contracts.tokenizer import RowSource, TokenEmbedding, Tokenizer
from service.recipes.refusal import refuse
from service.recipes.tensor_names import TensorTable
from service.recipes.vocabulary.heights import resized
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import Tokens, TokenSource

ReadTokens = Callable[[str], TokenSource]
"""Of a model. Raises Malformed or OSError."""
Row = tuple[str, int]
"""A model, and a row of its embeddings."""


@dataclass(frozen=True)
class Vocabulary:
    """Every row of the result stands for a token, or for none."""

    donor: str
    """Gives the tokenizer's files, to which the tokens that it lacks are added."""
    base: str | None
    """Lends first."""
    tokens: Tokens
    rows: int
    models: Mapping[str, Tokens]
    """The tokens that have a row, of every model that is merged."""
    heights: Mapping[str, int]
    """How many rows each of them has."""
    configured: Mapping[str, tuple[Row, ...]]
    """Whose rows stand in for a token's, by the recipe: their mean, zeros if there is none."""
    forced: frozenset[str]
    """Tokens for which they do so in the models that have the token, too."""

    def lent(self, token: str) -> tuple[Row, ...]:
        """Whose rows stand in where a model lacks the token: by default the base's, else those of all."""
        if token in self.configured:
            return self.configured[token]
        having = {model: tokens[token] for model, tokens in self.models.items() if token in tokens}
        if self.base in having:
            return ((self.base, having[self.base]),)
        return tuple(having.items())

    def tables(self, stored: Mapping[str, TensorTable]) -> dict[str, TensorTable]:
        """The tensors of all models as they are in the result's vocabulary."""
        return {model: resized(table, self.rows) for model, table in stored.items()}

    @property
    def lenders(self) -> list[str]:
        """Every model that rows may be read from."""
        named = [model for rows in self.configured.values() for model, _ in rows]
        return list(dict.fromkeys([*self.models, *named]))


@dataclass(frozen=True)
class Models:
    """What is known of the models of a recipe."""

    merged: Sequence[str]
    """In the recipe's order, the base among them."""
    base: str | None
    heights: Mapping[str, int | None]
    places: Mapping[str, Place]
    """Where the recipe names them."""
    read: ReadTokens

    @property
    def donor(self) -> str:
        """Gives the tokenizer unless the recipe names another."""
        return self.base or self.merged[0]

    def tokens(self, model: str) -> Tokens:
        """Those that have a row. Raises Refused."""
        place, height = self.places[model], self.heights[model]
        if height is None:
            raise refuse(*place, detail=f"{model} has no embeddings with one row for each token")
        try:
            tokens = self.read(model).tokens()
        except (Malformed, OSError) as error:
            raise refuse(*place, detail=f"the tokens of {model} can't be read: {error}") from None
        within = {token: index for token, index in tokens.items() if index < height}
        return within if len(within) < len(tokens) else tokens

    def height(self, model: str) -> int:
        height = self.heights[model]
        assert height is not None
        return height


def plan_vocabulary(tokenizer: Tokenizer, models: Models) -> Vocabulary:
    """Raises Refused."""
    donor = models.donor if tokenizer.source in ("union", "base") else tokenizer.source
    own = {model: models.tokens(model) for model in models.merged}
    others = own.values() if tokenizer.source == "union" else ()
    tokens = _with_others(
        models.tokens(donor), [*(sorted(other, key=other.__getitem__) for other in others), tokenizer.tokens]
    )
    return Vocabulary(
        donor=donor,
        base=models.base,
        tokens=tokens,
        rows=_rows(tokens, models.height(donor), tokenizer.pad_to_multiple_of or 1),
        models=own,
        heights={model: models.height(model) for model in models.merged},
        configured=_configured(tokenizer.tokens, own, models),
        forced=frozenset(token for token, entry in tokenizer.tokens.items() if entry.force),
    )


def _with_others(first: Tokens, others: Iterable[Iterable[str]]) -> Tokens:
    """Those of `first` keep their ids; those that only others have come after them, in order."""
    tokens = dict(first)
    following = max(tokens.values(), default=-1) + 1
    for token in chain.from_iterable(others):
        if token not in tokens:
            tokens[token] = following
            following += 1
    return tokens


def _rows(tokens: Tokens, height: int, multiple: int) -> int:
    """Never fewer than the donor has: padded vocabularies stay padded."""
    needed = max(height, max(tokens.values(), default=-1) + 1)
    return -(-needed // multiple) * multiple


def _configured(
    entries: Mapping[str, TokenEmbedding], own: Mapping[str, Tokens], models: Models
) -> dict[str, tuple[Row, ...]]:
    """Raises Refused where a row is asked for that is not there, or nobody knows what a token's should be."""
    found: dict[str, tuple[Row, ...]] = {}
    for token, entry in entries.items():
        place: Place = ("tokenizer", "tokens", token, "source")
        if entry.source is not None:
            found[token] = _source_rows(token, entry.source, models, place)
        elif not any(token in tokens for tokens in own.values()):
            detail = f"no model has the token '{token}': give it a source, {{kind: zero}} if nothing else"
            raise refuse(*place, detail=detail)
    return found


def _source_rows(token: str, source: RowSource, models: Models, place: Place) -> tuple[Row, ...]:
    if source.model is None:
        return ()
    wanted = source.token or token
    tokens, height = models.tokens(source.model), models.height(source.model)
    if source.token_id is not None:
        if source.token_id >= height:
            raise refuse(*place, "token_id", detail=f"{source.model} has the rows 0 to {height - 1}")
        return ((source.model, source.token_id),)
    if wanted not in tokens:
        raise refuse(*place, detail=f"{source.model} has no token '{wanted}'")
    return ((source.model, tokens[wanted]),)
