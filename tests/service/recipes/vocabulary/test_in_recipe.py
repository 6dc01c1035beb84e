"""Which vocabulary a recipe gets, and the recipes that get none."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.contracts.model import TensorEntry
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan, make_plan
from service.recipes.refusal import Refused
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import TokenSource

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
A = {"<s>": 0, "a": 1, "b": 2}
B = {"<s>": 0, "b": 1, "c": 2, "<tool>": 3}
SIZES = {"a": 3, "b": 4, "base": 3}


def recipe(**more: Any) -> dict[str, Any]:
    models = [{"model": name, "parameters": {"weight": 1}} for name in ("a", "b")]
    return {"merge_method": "linear", "models": models, **more}


def plan(
    recipe: Any,
    tokens: Mapping[str, Mapping[str, int]] | None = None,
    sizes: Mapping[str, int] = SIZES,
    width: Mapping[str, int] | None = None,
) -> Plan:
    checked = validate_recipe(recipe)
    tables = {
        name: {
            tensor: TensorEntry(shape=[sizes[name], (width or {}).get(name, 8)], dtype="F32")
            for tensor in (EMBEDDING, HEAD)
        }
        for name in checked.references()
    }
    known = {"a": A, "b": B, "base": A} if tokens is None else tokens

    def read(model: str) -> TokenSource:
        if model not in known:
            raise Malformed("there is no tokenizer.json")
        return TokenSource(known[model], lambda: known[model])

    return make_plan(checked, tables, 0, None, read)


def refusal(*arguments: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        plan(*arguments, **more)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def rows(made: Plan) -> set[int]:
    return {made.tensors[EMBEDDING].shape[0], made.tensors[HEAD].shape[0]}


def test_a_union_keeps_the_first_models_ids_and_appends_what_others_have() -> None:
    made = plan(recipe(tokenizer={"source": "union"}))
    assert made.vocabulary is not None
    assert made.vocabulary.tokens == {"<s>": 0, "a": 1, "b": 2, "c": 3, "<tool>": 4}
    assert rows(made) == {5}
    assert plan(recipe(tokenizer_source="union")).vocabulary == made.vocabulary


def test_the_base_or_a_model_may_give_the_vocabulary() -> None:
    assert rows(plan(recipe(tokenizer_source="base"))) == {3}
    assert rows(plan(recipe(tokenizer_source="b"))) == {4}
    assert rows(plan(recipe(tokenizer_source="base", base_model="b"))) == {4}
    chosen = plan(recipe(tokenizer_source="base", base_model="b")).vocabulary
    assert chosen is not None
    assert chosen.tokens == B


def test_vocabularies_padded_to_a_round_number_stay_padded() -> None:
    padded = {"a": 16, "b": 4}
    assert rows(plan(recipe(tokenizer_source="union"), sizes=padded)) == {16}
    assert rows(plan(recipe(tokenizer={"source": "union", "pad_to_multiple_of": 12}), sizes=padded)) == {24}
    assert rows(plan(recipe(tokenizer={"source": "union", "pad_to_multiple_of": 8}))) == {8}


def test_tokens_without_a_row_are_dropped_and_others_take_their_ids() -> None:
    made = plan(recipe(tokenizer_source="union"), {"a": A | {"<unused>": 3}, "b": B})
    assert made.vocabulary is not None
    assert "<unused>" not in made.vocabulary.tokens
    assert rows(made) == {5}


def test_tokens_of_the_recipe_are_added() -> None:
    tokens = {"<new>": {"source": {"kind": "model_token", "model": "b", "token_id": 3}}}
    made = plan(recipe(tokenizer={"source": "base", "tokens": tokens}))
    assert made.vocabulary is not None
    assert made.vocabulary.tokens["<new>"] == 3
    assert made.vocabulary.lent("<new>") == (("b", 3),)


def test_a_model_may_lend_rows_without_being_merged() -> None:
    tokens = {"c": {"source": "base", "force": True}}
    made = plan(
        recipe(tokenizer={"tokens": tokens}), {"a": A, "b": B, "base": {"c": 2}}, sizes=SIZES | {"base": 3}
    )
    assert made.vocabulary is not None
    assert made.vocabulary.lent("c") == (("base", 2),)
    assert "base" in made.models
    assert "base" not in made.sources


def test_without_a_tokenizer_key_equal_shapes_are_not_enough() -> None:
    found = refusal(recipe(), {"a": A, "b": {"<s>": 0, "b": 1, "a": 2}}, sizes={"a": 3, "b": 3})
    assert found.keys() == {"/models/1/model"}
    assert "2 ids stand for other tokens, 1 for 'b' and 'a'" in found["/models/1/model"]
    assert "tokenizer: {source: union}" in found["/models/1/model"]


def test_without_a_tokenizer_key_other_heights_are_told_with_the_remedy() -> None:
    found = refusal(recipe(), {})["/models/1/model"]
    assert "4 embedding rows and 3" in found
    assert "tokenizer: {source: union}" in found


def test_the_same_vocabulary_needs_no_tokenizer_key() -> None:
    more = {**A, "<extra>": 3}
    padded = {"a": 8, "b": 8}
    assert rows(plan(recipe(), {"a": A, "b": more}, sizes=padded)) == {8}
    assert rows(plan(recipe(), {"a": A}, sizes=padded)) == {8}
    assert plan(recipe(), {"a": A, "b": more}, sizes=padded).vocabulary is None


@pytest.mark.parametrize(
    ("tokenizer", "pointer", "words"),
    [
        ({"tokens": {"<new>": {}}}, "/tokenizer/tokens/<new>/source", "no model has the token"),
        ({"tokens": {"a": {"source": "b"}}}, "/tokenizer/tokens/a/source", "b has no token 'a'"),
        (
            {"tokens": {"a": {"source": {"kind": "model_token", "model": "b", "token_id": 4}}}},
            "/tokenizer/tokens/a/source/token_id",
            "rows 0 to 3",
        ),
        (
            {"tokens": {"a": {"source": {"kind": "model_token", "token": "b"}}}},
            "/tokenizer/tokens/a/source",
            "needs a model",
        ),
        ({"tokens": {"a": {"forced": True}}}, "/tokenizer/tokens/a/forced", "did you mean 'force'"),
        ({"sources": "union"}, "/tokenizer/sources", "did you mean 'source'"),
        ({"pad_to_multiple_of": 0}, "/tokenizer/pad_to_multiple_of", "greater than or equal to 1"),
    ],
)
def test_what_a_tokenizer_key_can_have_wrong(tokenizer: Any, pointer: str, words: str) -> None:
    assert words in refusal(recipe(tokenizer=tokenizer))[pointer]


def test_models_that_cannot_lend_rows_are_told() -> None:
    assert "no tokenizer.json" in refusal(recipe(tokenizer_source="union"), {"a": A})["/models/1/model"]
    lender = recipe(tokenizer={"tokens": {"a": {"source": "base"}}})
    assert "base, which lends" in refusal(lender, width={"base": 4})["/tokenizer"]
    both = recipe(tokenizer={"source": "union"}, tokenizer_source="union")
    assert "found both" in refusal(both)["/tokenizer_source"]
