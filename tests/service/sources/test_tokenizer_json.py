"""Tokens are read from tokenizer.json as the tokenizers library loads them, without it."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from service.sources.malformed import Malformed
from service.sources.tokenizer_json import document_tokens, merged_pairs, read_tokens
from tests.builders.vocabularies import tokenizer_document

letters = st.sampled_from([*"abcdefgh", "<s>", "<x>", "<y>"])


@given(st.lists(letters, min_size=1, unique=True), st.lists(letters, max_size=8), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_ids_are_those_of_the_library(words: list[str], added: list[str], seed: int) -> None:
    """Also where ids have gaps, and where an added token's entry claims another one."""
    ids = Random(seed).sample(range(40), len(words))
    document = tokenizer_document(dict(zip(words, ids, strict=True)), added)
    for entry in document["added_tokens"][::2]:
        entry["id"] = seed
    loaded = Tokenizer.from_str(json.dumps(document))
    assert document_tokens(document) == loaded.get_vocab()


def test_a_unigram_models_words_are_numbered_by_their_places() -> None:
    document = tokenizer_document({})
    document["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    assert document_tokens(document) == {"<unk>": 0, "a": 1}


_ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": _ANY | st.fixed_dictionaries({}, optional={"vocab": _ANY, "merges": _ANY}),
            "added_tokens": _ANY | st.lists(st.fixed_dictionaries({"content": _ANY, "id": _ANY}), max_size=2),
        },
    )
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_file_holds_the_answer_is_tokens_or_malformed(document: dict[str, Any]) -> None:
    try:
        merged_pairs(document)
        assert all(type(index) is int for index in document_tokens(document).values())
    except Malformed:
        return


def test_a_model_without_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"no tokenizer\.json"):
        read_tokens(tmp_path)
