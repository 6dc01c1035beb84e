"""Whatever is sent, the parser accepts it or says what is wrong."""

import json
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.contracts.methods import METHODS
from service.recipes.digest import canonical, model_id
from service.recipes.intermediates import in_order
from service.recipes.parse import parse_recipe
from service.recipes.refusal import Refused

NUMBERS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["0.5", "1e-5", "nan", "x"])
)
TEXT = st.text(alphabet=st.characters(), max_size=12)
ANYTHING = st.recursive(
    NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["a", "b", "base", "a+b", "x", "y", "x+b"]) | TEXT
PARAMETERS = st.dictionaries(
    st.sampled_from(["weight", "density", "t", "lambda", "normalize"]) | TEXT, NUMBERS | ANYTHING, max_size=3
)
MODELS = st.lists(st.fixed_dictionaries({"model": NAMES}, optional={"parameters": PARAMETERS}), max_size=4)
SLICES = st.lists(
    st.fixed_dictionaries(
        {
            "sources": st.lists(
                st.fixed_dictionaries(
                    {"model": NAMES, "layer_range": st.lists(st.integers(-1, 5), max_size=3)},
                    optional={"parameters": PARAMETERS},
                ),
                max_size=3,
            )
        },
        optional={"base_model": NAMES, "parameters": PARAMETERS},
    ),
    max_size=3,
)
ROWS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["zero", "model_token"]) | TEXT},
    optional={"model": NAMES, "token": TEXT, "token_id": NUMBERS},
)
TOKENS = st.fixed_dictionaries({}, optional={"source": NAMES | ROWS | ANYTHING, "force": NUMBERS})
TOKENIZERS = st.fixed_dictionaries(
    {},
    optional={
        "source": NAMES | st.sampled_from(["union", "base"]),
        "tokens": st.dictionaries(TEXT, TOKENS, max_size=3) | ANYTHING,
        "pad_to_multiple_of": NUMBERS,
    },
)
NEAR_RECIPES: Any = st.fixed_dictionaries(
    {"merge_method": st.sampled_from(sorted(METHODS)) | TEXT},
    optional={
        "models": MODELS | ANYTHING,
        "slices": SLICES | ANYTHING,
        "modules": st.dictionaries(
            st.sampled_from(["text_decoder", "vision_tower"]) | TEXT,
            st.fixed_dictionaries(
                {}, optional={"models": MODELS, "slices": SLICES, "parameters": PARAMETERS, "x": ANYTHING}
            ),
            max_size=2,
        )
        | ANYTHING,
        "base_model": NAMES | NUMBERS,
        "parameters": PARAMETERS | ANYTHING,
        "dtype": st.sampled_from(["bfloat16", "torch.float32"]) | ANYTHING,
        "name": NAMES | NUMBERS,
        "strict": st.booleans() | ANYTHING,
        "tokenizer": TOKENIZERS | ANYTHING,
        "tokenizer_source": NAMES | NUMBERS,
        "chat_template": st.sampled_from(["auto", "chatml", "{{ x }}"]) | ANYTHING,
        "x": ANYTHING,
    },
)
STEPS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", "z"]) | TEXT,
        "merge_method": st.just("linear"),
        "models": MODELS,
        "parameters": st.just({"weight": 1}),
    },
    optional={"base_model": NAMES},
)
LISTS = st.lists(STEPS, max_size=3).flatmap(
    lambda steps: st.one_of(STEPS, NEAR_RECIPES).map(
        lambda last: [*steps, {key: value for key, value in last.items() if key != "name"}]
    )
)


def parses_or_is_refused(text: str | bytes, lenient: bool = False) -> None:
    try:
        recipe = parse_recipe(text, lenient=lenient)
    except Refused as refused:
        for problem in refused.problems:
            assert problem.detail
            problem.model_dump_json()
        return
    again = parse_recipe(json.dumps(canonical(recipe)))
    assert again.documents == recipe.model_copy(update={"warnings": ()}).documents
    assert [index for index, _ in in_order(again)][-1] == len(again.intermediates)
    assert model_id(again, 0) == model_id(recipe, 0)


@given(NEAR_RECIPES | LISTS, st.booleans())
@settings(max_examples=500, deadline=None)
def test_near_recipes(document: Any, lenient: bool) -> None:
    parses_or_is_refused(json.dumps(document), lenient)


@given(LISTS)
@settings(max_examples=100, deadline=None)
def test_lists_mean_the_same_as_documents(recipes: list[Any]) -> None:
    outcomes: list[Any] = []
    for text in (json.dumps(recipes), yaml.safe_dump_all(recipes, sort_keys=False)):
        try:
            outcomes.append(canonical(parse_recipe(text.encode(errors="surrogatepass"))))
        except Refused as refused:
            outcomes.append({problem.pointer for problem in refused.problems})
    assert outcomes[0] == outcomes[1] or len(recipes) == 1


@given(NEAR_RECIPES)
@settings(max_examples=150, deadline=None)
def test_near_recipes_in_yaml(document: Any) -> None:
    parses_or_is_refused(yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogatepass"))


MANY_KEYS = [f"k{number}" for number in range(15_000)]


@example(b'{"a":' * 20_000)
@example(b"- " * 50_000)
@example(b"{" * 5_000)
@example(b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]")
@example(b"<<: {merge_method: linear}")
@example(b"!!python/object/apply:os.system [ls]")
@example(b"!!binary aGVsbG8=")
@example(b"merge_method: 2020-01-01")
@example(b'{"merge_method": "\\ud800", "\\udfff": 1}')
@example(b"\xed\xa0\x80")
@example(b"a\0b")
@example(b'{"merge_method": "slerp", "parameters": {"t": NaN}}')
@example(b'{"merge_method": "slerp", "parameters": {"t": 1e999}}')
@example(b"x: " + b"9" * 100_000)
@example(b"x: 1" + b":59" * 20_000)
@example("".join(f"{key}: 1\n" for key in [*MANY_KEYS, MANY_KEYS[-1]]))
@example(json.dumps(dict.fromkeys(MANY_KEYS, 1))[:-1] + ', "k9999": 1}')
@example(json.dumps({"merge_method": "linear", "models": [{}] * 20_000}))
@given(st.text(max_size=200) | st.binary(max_size=200) | st.text("[]{}:,-&*!|>'\"%@` \n\tab01", max_size=80))
@settings(max_examples=400, deadline=None)
def test_any_text(text: str | bytes) -> None:
    parses_or_is_refused(text)
