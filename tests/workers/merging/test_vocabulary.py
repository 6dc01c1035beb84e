"""Merges that change the vocabulary: every row of the result stands for its token."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from service.recipes.vocabulary.result import Vocabulary
from service.recipes.vocabulary.runs import runs
from service.sources.tokenizer_json import read_tokens
from tests.builders.vocabularies import GOLDEN, MODELS, plan_of, write_merge
from workers.merging.vocabulary import permuted

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
NAMES = sorted(path.stem for path in (GOLDEN / "recipes").glob("*.yaml"))
UNION: dict[str, Any] = {
    "merge_method": "linear",
    "models": [
        {"model": "core", "parameters": {"weight": 1}},
        {"model": "plus", "parameters": {"weight": 0}},
        {"model": "other", "parameters": {"weight": 0}},
    ],
    "tokenizer": {"source": "union"},
}


def row(model: str, token: str, tensor: str = EMBEDDING) -> Tensor:
    tensors: dict[str, Tensor] = load_file(MODELS[model] / "model.safetensors")
    return tensors[tensor][read_tokens(MODELS[model])[token]]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_mergekits_token_by_token(name: str, tmp_path: Path) -> None:
    recipe = yaml.safe_load((GOLDEN / "recipes" / f"{name}.yaml").read_text())
    folder = write_merge(recipe, tmp_path, threads=2, tile_elements=30)
    found, ours = load_file(folder / "model.safetensors"), read_tokens(folder)
    with safe_open(GOLDEN / "outputs" / f"{name}.safetensors", "pt") as wanted:
        theirs = json.loads(wanted.metadata()["tokens"])
        assert ours.keys() == theirs.keys()
        for tensor in (EMBEDDING, HEAD):
            rows = wanted.get_tensor(tensor)
            assert found[tensor].shape == rows.shape
            for token, index in ours.items():
                torch.testing.assert_close(found[tensor][index], rows[theirs[token]], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(found[tensor][len(ours) :], rows[len(theirs) :], rtol=1e-6, atol=1e-6)


def test_transformers_loads_a_union_and_finds_every_models_rows(tmp_path: Path) -> None:
    folder = write_merge(UNION, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == 19
    text = "<|im_start|>abcd efgh<|im_end|><tool>"
    tokens = ["<|im_start|>", "abcd", "Ġ", "ef", "gh", "<|im_end|>", "<tool>"]
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.decode(ids) == text
    shared = [(row("plus", token) + row("other", token)) / 2 for token in ("ef", "<|im_end|>")]
    wanted = [
        *(row("plus", "<|im_start|>"), row("core", "abcd"), row("core", "Ġ"), shared[0]),
        *(row("other", "gh"), shared[1], row("other", "<tool>")),
    ]
    torch.testing.assert_close(model.get_input_embeddings()(ids), torch.stack(wanted))


def test_tied_embeddings_stay_tied_and_lend_rows_to_heads(tmp_path: Path) -> None:
    tied = tmp_path / "tied"
    tied.mkdir()
    for path in MODELS["plus"].iterdir():
        (tied / path.name).write_bytes(path.read_bytes())
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors = load_file(tied / "model.safetensors")
    del tensors[HEAD]
    save_file(tensors, tied / "model.safetensors")
    folders = {**MODELS, "plus": tied}
    both = UNION | {"models": [UNION["models"][1], {"model": "same", "parameters": {"weight": 1}}]}
    alone = load_file(write_merge(both, tmp_path / "a", {**folders, "same": tied}) / "model.safetensors")
    assert HEAD not in alone
    untied = load_file(write_merge(UNION, tmp_path / "b", folders) / "model.safetensors")
    index = read_tokens(tmp_path / "b")["<|im_start|>"]
    torch.testing.assert_close(untied[HEAD][index], row("plus", "<|im_start|>"))


def test_an_intermediate_lends_rows_and_tokens_as_if_it_were_written(tmp_path: Path) -> None:
    union = UNION | {"models": [{"model": name, "parameters": {"weight": 1}} for name in ("core", "plus")]}
    rest = {
        "merge_method": "slerp",
        "base_model": "between",
        "models": [{"model": "other"}],
        "parameters": {"t": 0.5},
        "tokenizer": {"source": "union", "pad_to_multiple_of": 8},
    }
    between = write_merge(union, tmp_path / "between")
    written = write_merge(rest, tmp_path / "written", MODELS | {"between": between})
    streamed = write_merge([union | {"name": "between"}, rest], tmp_path / "streamed")
    assert {path.name: path.read_bytes() for path in streamed.iterdir()} == {
        path.name: path.read_bytes() for path in written.iterdir()
    }


def test_a_model_without_a_say_passes_its_vocabulary_on(tmp_path: Path) -> None:
    """The recipe of the result says nothing of tokens: they are those of the intermediate."""
    union = UNION | {"name": "between"}
    copy = {"merge_method": "passthrough", "models": [{"model": "between"}]}
    streamed = write_merge([union, copy], tmp_path / "streamed")
    written = write_merge(UNION, tmp_path / "written")
    assert read_tokens(streamed) == read_tokens(written)
    assert (streamed / "config.json").read_text() == (written / "config.json").read_text()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_stretch_of_rows_reads_as_the_whole_does(data: st.DataObject) -> None:
    """Against the definition, row by row, for vocabularies in any order and with gaps."""
    names = ["a", "b", "c"]
    heights = {name: data.draw(st.integers(1, 8)) for name in names}
    pool = st.sampled_from("stuvwxyz")
    models = {
        name: dict(zip(data.draw(st.permutations("stuvwxyz")), rows, strict=False))
        for name in names
        if (rows := data.draw(st.permutations(range(heights[name]))))
    }
    tokens = {token: index for index, token in enumerate(data.draw(st.lists(pool, min_size=1, unique=True)))}
    configured = data.draw(st.dictionaries(pool, st.sampled_from([(), (("b", 0),)]), max_size=3))
    vocabulary = Vocabulary(
        donor="a",
        base=data.draw(st.sampled_from(["a", None])),
        tokens=tokens,
        rows=len(tokens) + data.draw(st.integers(0, 3)),
        models=models,
        heights=heights,
        configured=configured,
        forced=frozenset(data.draw(st.lists(st.sampled_from(sorted(configured)))) if configured else []),
    )
    tensors = {name: torch.randn(height, 3) for name, height in heights.items()}
    readers = {name: lambda start, stop, step, name=name: tensors[name][start:stop:step] for name in names}
    read = permuted(runs(vocabulary, "a"), readers, (vocabulary.rows, 3), torch.device("cpu"))
    wanted = whole(vocabulary, "a", tensors)
    start = data.draw(st.integers(0, vocabulary.rows - 1))
    stop, step = data.draw(st.integers(start + 1, vocabulary.rows)), data.draw(st.integers(1, 3))
    torch.testing.assert_close(read(start, stop, step), wanted[start:stop:step])


def whole(vocabulary: Vocabulary, model: str, tensors: dict[str, Tensor]) -> Tensor:
    own, rows = vocabulary.models[model], []
    for index in range(vocabulary.rows):
        token = next((token for token, at in vocabulary.tokens.items() if at == index), None)
        if token is None:
            spare = index < vocabulary.heights[model] and index not in own.values()
            rows.append(tensors[model][index] if spare else None)
        elif token in own and token not in vocabulary.forced:
            rows.append(tensors[model][own[token]])
        elif token in vocabulary.configured:
            rows.append(sum((tensors[m][r] for m, r in vocabulary.configured[token]), torch.zeros(3)))
        else:
            having = [m for m in vocabulary.models if token in vocabulary.models[m]]
            having = [vocabulary.base] if vocabulary.base in having else having
            lent = [tensors[m][vocabulary.models[m][token]] for m in having]
            rows.append(torch.stack(lent).mean(0) if lent else torch.zeros(3))
    known = [found for found in rows if found is not None]
    mean = torch.stack(known).mean(0)
    return torch.stack([mean if found is None else found for found in rows])


def test_a_bias_of_the_head_follows_its_tokens() -> None:
    recipe = UNION | {"models": UNION["models"][:2], "tokenizer_source": "union", "tokenizer": None}
    vocabulary = plan_of(recipe).vocabulary
    assert vocabulary is not None
    biases = {name: torch.randn(vocabulary.heights[name]) for name in vocabulary.models}
    readers = {
        name: lambda start, stop, step, name=name: biases[name][None][start:stop:step] for name in biases
    }
    shape = (vocabulary.rows,)
    found = permuted(runs(vocabulary, "core"), readers, shape, torch.device("cpu"))(0, 1, 1)
    assert found.shape == (1, vocabulary.rows)
    for token, index in vocabulary.tokens.items():
        model = "core" if token in vocabulary.models["core"] else "plus"
        assert found[0, index] == biases[model][vocabulary.models[model][token]]
