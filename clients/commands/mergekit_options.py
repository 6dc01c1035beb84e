"""The options of mergekit-yaml as `polymerge merge` has them, so that its command lines work unchanged."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

_RENAMED = {
    "--random-seed": "--seed",
    "--num-threads": "--threads",
    "-j": "--threads",
    "--out-shard-size": "--shard-size",
}
_DEVICES = {"--cuda": "cuda", "--gpu-rich": "cuda", "--no-cuda": "cpu"}
_ANYHOW = {
    "allow-crimes": "models fit if their tensors do, whatever their architecture is called",
    "async-write": "tiles are written while others are computed",
    "clone-tensors": "a layer may be used as often as you like",
    "copy-tokenizer": "",
    "lazy-unpickle": "there is no pickle to read",
    "low-cpu-memory": "no result is held in memory",
    "lora-merge-cache": "adapters are applied as rows are read",
    "multi-gpu": "one GPU is used",
    "read-to-gpu": "",
    "safe-serialization": "",
    "trust-remote-code": "no code of a model is run",
    "write-model-card": "",
    "write-threads": "whoever computes writes",
}
"""What needs no saying here, and why."""
_WITH_VALUE = ("--lora-merge-cache", "--write-threads")
_WITHOUT = {
    "--no-copy-tokenizer": "the result has a tokenizer; remove its files if need be",
    "--no-safe-serialization": "the result is safetensors",
    "--no-write-model-card": "the result has a README.md; remove it if need be",
    "--lora-merge-dtype": "adapters are applied in float32",
    "--transformers-cache": "set HF_HUB_CACHE instead",
    "--unsafe-truncate-embeddings": "write `tokenizer: {source: base}` into the recipe",
}
"""What is not to be had, and what is instead."""


class MergekitCommand(TyperCommand):
    """A command that takes mergekit-yaml's options beside its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(as_ours(args)))


def as_ours(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments in this command's own options. Raises typer.BadParameter for what it can't do."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in _WITHOUT:
            raise typer.BadParameter(f"{name} of mergekit-yaml is not known here: {_WITHOUT[name]}")
        if name in _DEVICES:
            yield from ("--device", _DEVICES[name])
        elif name in _RENAMED:
            given = value if equals else next(rest, None)
            yield _RENAMED[name]
            if given is not None:
                yield _bytes(given) if name == "--out-shard-size" else given
        elif name in _WITH_VALUE:
            _ = equals or next(rest, None)
        elif name.removeprefix("--").removeprefix("no-") not in _ANYHOW and not re.fullmatch("-v+", name):
            yield argument


def _bytes(size: str) -> str:
    """mergekit counts in K, M and B, for billions."""
    return re.sub(r"(?i)(?<=\d)b$", "G", size)
