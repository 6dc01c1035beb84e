"""The files beside the weights tell of the result's tokens, its special ones, and its chat template."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from service.recipes.parse import validate_recipe
from service.recipes.refusal import Refused
from service.sources.tokenizer_json import read_tokens
from tests.builders.vocabularies import MODELS, write_merge

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def recipe(*models: str, **more: Any) -> dict[str, Any]:
    listed = [{"model": name, "parameters": {"weight": 1}} for name in models]
    return {"merge_method": "linear", "models": listed, **more}


def with_files(folder: Path, name: str, **files: Any) -> Path:
    """A copy of a golden model with other files."""
    copy = folder / f"{name}-with-files"
    shutil.copytree(MODELS[name], copy)
    for file, content in files.items():
        path = copy / file.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return copy


def test_another_models_tokenizer_brings_its_special_ids(tmp_path: Path) -> None:
    """The end of a turn is <|im_end|> in `plus`; `core`, which gives the config, has another tokenizer."""
    core = with_files(
        tmp_path, "core", generation_config__json={"eos_token_id": 1, "pad_token_id": 13, "temperature": 0.5}
    )
    plus = with_files(tmp_path, "plus", generation_config__json={"eos_token_id": [16, 1]})
    out = write_merge(
        recipe("core", "plus", tokenizer_source="plus"), tmp_path / "out", {"core": core, "plus": plus}
    )
    generation = json.loads((out / "generation_config.json").read_text())
    config = json.loads((out / "config.json").read_text())
    assert read_tokens(out) == read_tokens(plus)
    assert generation["eos_token_id"] == [16, 1]
    assert generation["temperature"] == 0.5
    assert generation["pad_token_id"] == read_tokens(out)["abcd"] == 13
    assert config["vocab_size"] == 17


def test_what_the_base_says_of_generation_is_kept_in_a_union(tmp_path: Path) -> None:
    core = with_files(tmp_path, "core", generation_config__json={"eos_token_id": 1, "top_p": 0.9})
    folders = MODELS | {"core": core}
    out = write_merge(recipe("core", "plus", tokenizer_source="union"), tmp_path / "out", folders)
    assert json.loads((out / "generation_config.json").read_text()) == {"eos_token_id": 1, "top_p": 0.9}


def test_companions_of_the_tokenizer_agree_with_it(tmp_path: Path) -> None:
    old = {"added_tokens_decoder": {"0": {"content": "<s>"}}, "eos_token": "</s>", "pad_token": "<gone>"}
    core = with_files(
        tmp_path,
        "core",
        tokenizer_config__json=old,
        added_tokens__json={"<s>": 0},
        vocab__json={"a": 2},
    )
    folders = MODELS | {"core": core}
    out = write_merge(recipe("core", "plus", tokenizer_source="union"), tmp_path / "out", folders)
    settings = json.loads((out / "tokenizer_config.json").read_text())
    added = json.loads((out / "added_tokens.json").read_text())
    tokens = read_tokens(out)
    assert "pad_token" not in settings
    assert {entry["content"]: int(key) for key, entry in settings["added_tokens_decoder"].items()} == added
    assert added == {token: tokens[token] for token in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")}
    assert not (out / "vocab.json").exists()
    assert AutoTokenizer.from_pretrained(out).get_vocab() == tokens


def test_the_template_is_what_most_models_have_the_named_one_or_the_text(tmp_path: Path) -> None:
    ours = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
    folders = {
        "core": with_files(tmp_path, "core", tokenizer_config__json={"chat_template": "{{ 'first' }}"}),
        "plus": with_files(tmp_path, "plus", chat_template__jinja=ours),
        "other": with_files(tmp_path, "other", chat_template__json={"chat_template": ours}),
    }

    def rendered(setting: str, *models: str) -> Any:
        out = write_merge(
            recipe(*models, tokenizer_source="union", chat_template=setting), tmp_path / "out", folders
        )
        return AutoTokenizer.from_pretrained(out).apply_chat_template(MESSAGES, tokenize=False)

    assert rendered("auto", "core", "plus", "other") == "[a][b]"
    assert rendered("auto", "core", "plus") == "first"
    assert rendered("{{ messages[0]['role'] }}", "core", "plus") == "user"
    chatml = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    assert rendered("chatml", "core", "plus") == chatml


@pytest.mark.parametrize("name", ["alpaca", "chatml", "exaone", "llama3", "mistral"])
def test_named_templates_hold_all_that_is_said(name: str, tmp_path: Path) -> None:
    out = write_merge(recipe("core", chat_template=name), tmp_path / "out")
    text = AutoTokenizer.from_pretrained(out).apply_chat_template(
        [{"role": "system", "content": "Be kind."}, *MESSAGES, {"role": "user", "content": "c"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    positions = [text.index(part) for part in ("Be kind.", "a", "b", "c")]
    assert text.startswith("<s>") == (name in ("llama3", "mistral"))
    assert positions[0] < text.rindex("b") < text.rindex("c")


def test_a_template_that_is_no_template_is_refused() -> None:
    with pytest.raises(Refused, match="did you mean 'chatml'"):
        validate_recipe(recipe("core", chat_template="chatlm"))
