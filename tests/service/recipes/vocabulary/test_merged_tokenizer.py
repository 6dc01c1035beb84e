"""The tokenizer of a result knows exactly the planned tokens, and splits text as it should."""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from service.recipes.vocabulary.merged_tokenizer import merged_tokenizer
from service.sources.tokenizer_json import document_tokens
from tests.builders.vocabularies import tokenizer_document

LETTERS = {letter: index for index, letter in enumerate("abcdef")}


def words(*more: str) -> dict[str, int]:
    return LETTERS | {word: len(LETTERS) + index for index, word in enumerate(more)}


def union(*documents: dict[str, Any]) -> dict[str, int]:
    tokens = dict(document_tokens(documents[0]))
    for document in documents[1:]:
        for token in sorted(document_tokens(document), key=document_tokens(document).__getitem__):
            tokens.setdefault(token, max(tokens.values()) + 1)
    return tokens


def load(document: Any) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(document))


def test_a_model_that_extends_the_donors_words_brings_its_way_of_splitting() -> None:
    donor = tokenizer_document(words("ab"), ["<s>"], ["a b"])
    other = tokenizer_document(words("ab", "abc", "de"), ["<s>", "<tool>"], ["a b", "ab c", "d e"])
    merged = load(merged_tokenizer(donor, [other], union(donor, other)))
    assert merged.encode("abcde<tool>f").tokens == load(other).encode("abcde<tool>f").tokens
    assert merged.get_vocab() == union(donor, other)


def test_text_of_the_donors_words_is_split_as_before() -> None:
    donor = tokenizer_document(words("ab", "abc"), merges=["a b", "ab c"])
    other = tokenizer_document(words("bc", "abc"), merges=["b c", "a bc"])
    assert load(merged_tokenizer(donor, [other], union(donor, other))).encode("abcabc").tokens == ["abc"] * 2


def test_tokens_without_a_row_go_with_the_pairs_that_make_them() -> None:
    donor = tokenizer_document(words("ab", "abc"), ["<s>", "<unused>"], ["a b", "ab c"])
    kept = {token: index for token, index in document_tokens(donor).items() if index < 7}
    merged = load(merged_tokenizer(donor, [], kept))
    assert merged.get_vocab() == kept
    assert merged.encode("abc").tokens == ["ab", "c"]


def test_a_unigram_model_takes_new_tokens_as_added_ones() -> None:
    donor = tokenizer_document({}) | {
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    }
    tokens = union(donor, tokenizer_document({"a": 0, "b": 1}, ["<x>"]))
    merged = load(merged_tokenizer(donor, [tokenizer_document({"a": 0, "b": 1}, ["<x>"])], tokens))
    assert merged.get_vocab() == tokens
    assert merged.encode("a<x>b").tokens == ["a", "<x>", "b"]


subsets = st.lists(st.sampled_from("abcdefghij"), min_size=1, unique=True)
specials = st.lists(st.sampled_from(["<p>", "<q>", "<r>", "j"]), unique=True)


@given(st.lists(st.tuples(subsets, specials, st.integers(0, 99)), min_size=1, max_size=3), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_the_library_finds_every_token_under_its_planned_id(drawn: list[Any], rows: int) -> None:
    """With gaps between ids, in any order, some without a row."""
    documents = [
        tokenizer_document(
            dict(zip(letters, Random(seed).sample(range(30), len(letters)), strict=True)), added
        )
        for letters, added, seed in drawn
    ]
    first = {token: index for token, index in document_tokens(documents[0]).items() if index < rows}
    tokens = union(tokenizer_document(first), *documents[1:]) if first else {}
    if len(set(document_tokens(documents[0]).values())) == len(document_tokens(documents[0])) and tokens:
        assert load(merged_tokenizer(documents[0], documents[1:], tokens)).get_vocab() == tokens
