"""tokenizer.json of a result: the donor's, less tokens without a row, plus those of the other models."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from service.sources.tokenizer_json import (
    Tokens,
    added_entries,
    document_tokens,
    is_unigram,
    merged_pairs,
    model_words,
)

Document = Mapping[str, Any]


def merged_tokenizer(donor: Document, others: Sequence[Document], tokens: Tokens) -> Document:
    """The donor's tokenizer with exactly `tokens`; it is returned as it is if it has them.

    What is an added token in another model, or a word in none, becomes an added token; words become words,
    and the pairs that make them are merged after all of the donor's. A Unigram model has scores instead of
    pairs: it takes all new tokens as added ones.
    """
    known = document_tokens(donor)
    if known == tokens:
        return donor
    words = {word for other in others for word in model_words(other)} if not is_unigram(donor) else set()
    entries = added_tokens([*others, donor])
    kept = {entry["content"] for entry in added_entries(donor)} & tokens.keys()
    new = tokens.keys() - known.keys()
    added = kept | {token for token in new if token in entries or token not in words}
    result = deepcopy(dict(donor))
    result["added_tokens"] = [
        entries.get(token, plain_entry(token)) | {"id": tokens[token]}
        for token in sorted(added, key=tokens.__getitem__)
    ]
    model = result["model"]
    if is_unigram(donor):
        model["vocab"] = [item for item in model["vocab"] if item[0] in tokens]
    else:
        # An id among the words holds; what the library gives to others may collide where ids have gaps.
        model["vocab"] = dict(tokens)
    if "merges" in model:
        model["merges"] = _pairs(donor, others, tokens, new - added)
    return result


def added_tokens(documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """The entry of every added token; that of the last document that has it."""
    return {entry["content"]: entry for document in documents for entry in added_entries(document)}


def plain_entry(token: str) -> dict[str, Any]:
    """Of an added token that is nothing special."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"content": token, **flags}


def _pairs(donor: Document, others: Sequence[Document], tokens: Tokens, new: set[str]) -> list[list[str]]:
    """The donor's, less those that lack a token, then others' that make a new word."""
    prefix = donor["model"].get("continuing_subword_prefix") or ""
    pairs = dict.fromkeys(
        (first, second)
        for first, second in merged_pairs(donor)
        if {first, second, first + second.removeprefix(prefix)} <= tokens.keys()
    )
    for other in others:
        if not prefix and _alphabet(other) == _alphabet(donor):
            pairs |= dict.fromkeys(
                (first, second)
                for first, second in merged_pairs(other)
                if first + second in new and {first, second} <= tokens.keys()
            )
    return [list(pair) for pair in pairs]


def _alphabet(document: Document) -> tuple[object, bool]:
    """What words are made of: pairs of bytes mean nothing where there are characters."""
    return document["model"].get("type", "BPE"), "ByteLevel" in str(document.get("pre_tokenizer"))
