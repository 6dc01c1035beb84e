"""Rebuild the golden embeddings of merges that change the vocabulary, from mergekit as make_golden.py does.

Writes vocabulary/models, whose tokenizers differ, and vocabulary/outputs: embedding and output head of each
recipe's result; the tokens that their rows stand for are in the file's metadata.
"""

import shutil
import tempfile
from json import dumps
from pathlib import Path
from typing import Any

import torch
import yaml
from make_golden import (  # type: ignore[import-not-found,unused-ignore]
    SEED,
    Tensors,
    check_version,
    model_config,
    random_model,
)
from mergekit.config import MergeConfiguration  # type: ignore[import-not-found,import-untyped,unused-ignore]
from mergekit.merge import MergeOptions, run_merge  # type: ignore[import-not-found,import-untyped,unused-ignore]
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent / "vocabulary"
LETTERS = {"core": "abcdefghĠ", "plus": "abcdefghĠ", "other": "Ġhgfedcba"}
WORDS = {"core": ["ab", "cd", "abcd"], "plus": ["ab", "cd", "abcd", "ef"], "other": ["gh", "ef"]}
SPECIAL = {"core": [], "plus": ["<|im_start|>", "<|im_end|>"], "other": ["<|im_end|>", "<tool>"]}


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE over eight letters."""
    words = ["<s>", "</s>", *LETTERS[name], *WORDS[name]]
    pairs = [(word[: len(word) // 2], word[len(word) // 2 :]) for word in WORDS[name]]
    built = Tokenizer(BPE(vocab={word: index for index, word in enumerate(words)}, merges=pairs))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_tokens([AddedToken(word, special=True) for word in ["<s>", "</s>", *SPECIAL[name]]])
    return PreTrainedTokenizerFast(tokenizer_object=built, bos_token="<s>", eos_token="</s>")


def write_models(folder: Path) -> None:
    rng = torch.Generator().manual_seed(SEED)
    for name in LETTERS:
        built = tokenizer(name)
        config = model_config()
        config.num_hidden_layers, config.vocab_size = 1, len(built)
        config.save_pretrained(folder / name)
        built.save_pretrained(folder / name)
        save_file(random_model(config, rng), folder / name / "model.safetensors", metadata={"format": "pt"})


def with_folders(node: Any) -> Any:
    """The recipe with every model name replaced by the folder of that model."""
    if isinstance(node, dict):
        return {key: with_folders(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_folders(item) for item in node]
    return str(HERE / "models" / node) if node in LETTERS else node


def merge(recipe: Any) -> tuple[Tensors, dict[str, int]]:
    """The vocabulary tensors of the result, and its tokens with their ids."""
    options = MergeOptions(device="cpu", write_model_card=False, quiet=True, random_seed=SEED)
    with tempfile.TemporaryDirectory() as out:
        run_merge(MergeConfiguration.model_validate(with_folders(recipe)), out, options)
        tensors = {
            name: tensor.clone()
            for shard in sorted(Path(out).glob("*.safetensors"))
            for name, tensor in load_file(shard).items()
            if name in ("model.embed_tokens.weight", "lm_head.weight")
        }
        return tensors, AutoTokenizer.from_pretrained(out).get_vocab()


def main() -> None:
    check_version()
    torch.set_num_threads(1)
    for folder in (HERE / "models", HERE / "outputs"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    write_models(HERE / "models")
    for path in sorted((HERE / "recipes").glob("*.yaml")):
        tensors, tokens = merge(yaml.safe_load(path.read_text(encoding="utf-8")))
        save_file(tensors, HERE / "outputs" / f"{path.stem}.safetensors", metadata={"tokens": dumps(tokens)})
        print(path.stem)


if __name__ == "__main__":
    main()
