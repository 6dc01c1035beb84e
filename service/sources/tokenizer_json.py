"""tokenizer.json: which tokens a model knows, under the ids that the tokenizers library gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from service.sources.json_object import parse_object, read_raw
from service.sources.malformed import Malformed

TOKENIZER = "tokenizer.json"
Tokens = Mapping[str, int]
"""Token -> id."""
_MAX_ID = 2**24
_KEPT = 4
"""Vocabularies in memory: models that are merged mostly share one."""


@dataclass(frozen=True)
class TokenSource:
    """Tokens that are only worked out when they are needed."""

    identity: object
    """Equal ones have equal tokens."""
    tokens: Callable[[], Tokens]
    """Raises Malformed."""


def token_source(folder: Path) -> TokenSource:
    """Of the model in `folder`. Raises Malformed or OSError."""
    if not (folder / TOKENIZER).is_file():
        raise Malformed(f"there is no {TOKENIZER}")
    raw = read_raw(folder / TOKENIZER)
    return TokenSource(raw, partial(_tokens, raw))


def no_tokens(model: str) -> TokenSource:
    """For models without files. Raises Malformed."""
    raise Malformed(f"{model} has no {TOKENIZER}")


def read_tokens(folder: Path) -> Tokens:
    """The tokens of the model in `folder`. Raises Malformed or OSError."""
    return token_source(folder).tokens()


@lru_cache(maxsize=_KEPT)
def _tokens(raw: bytes) -> Tokens:
    document = parse_object(raw, TOKENIZER)
    merged_pairs(document)
    return document_tokens(document)


def document_tokens(document: Mapping[str, Any]) -> Tokens:
    """Raises Malformed.

    An added token that is a word of the model has the word's id, whatever its entry says; others are numbered
    from the number of words on.
    """
    words = model_words(document)
    others = dict.fromkeys(
        entry["content"] for entry in added_entries(document) if entry["content"] not in words
    )
    return {**words, **{token: len(words) + index for index, token in enumerate(others)}}


def model_words(document: Mapping[str, Any]) -> Tokens:
    """The model's own vocabulary, without added tokens. Raises Malformed."""
    vocabulary = _model(document).get("vocab")
    if isinstance(vocabulary, list):
        words = {_piece(item): index for index, item in enumerate(vocabulary)}
    elif isinstance(vocabulary, dict):
        words = vocabulary
    else:
        raise Malformed(f"{TOKENIZER} has no model.vocab from tokens to ids")
    for word, index in words.items():
        if type(index) is not int or not 0 <= index < _MAX_ID:
            raise Malformed(f"{TOKENIZER}: the id of '{word}' is {index!r}, not one below {_MAX_ID}")
    return words


def is_unigram(document: Mapping[str, Any]) -> bool:
    """Whether the words are a list, the ids their places."""
    return isinstance(_model(document).get("vocab"), list)


def merged_pairs(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a BPE model merges, in order: written as pairs, or as texts with a space. Raises Malformed."""
    merges = _model(document).get("merges") or []
    if not isinstance(merges, list):
        raise Malformed(f"{TOKENIZER}: model.merges is no list")
    pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise Malformed(f"{TOKENIZER}: model.merges has an item that is no pair of words")
    return [(first, second) for first, second in pairs]


def added_entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of added tokens. Raises Malformed."""
    entries = document.get("added_tokens") or []
    if not isinstance(entries, list):
        raise Malformed(f"{TOKENIZER}: added_tokens is no list")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise Malformed(f"{TOKENIZER}: an added token has no content")
    return [entry for entry in entries if entry["content"]]


def _model(document: Mapping[str, Any]) -> dict[str, Any]:
    model = document.get("model")
    if not isinstance(model, dict):
        raise Malformed(f"{TOKENIZER} has no model")
    return model


def _piece(item: Any) -> str:
    """Of a Unigram model's [piece, score]."""
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
        return item[0]
    raise Malformed(f"{TOKENIZER}: model.vocab has an item that is no [token, score]")
