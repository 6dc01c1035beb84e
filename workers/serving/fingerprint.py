"""Which models can share a running engine: those that differ in nothing but their weights."""

import hashlib
import json
from pathlib import Path

from service.contracts.model import Manifest
from service.sources.checkpoint import CARRIED, CONFIG

_NOT_ARCHITECTURE = {"_name_or_path", "_model_name_or_path", "transformers_version", "torch_dtype", "dtype"}
_NOT_SERVED = {"generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"}
_SERVED = set(CARRIED) - {CONFIG} - _NOT_SERVED
"""Of the files of a model those that an engine reads once, at its start: tokenizer and chat template."""


def fingerprint(manifest: Manifest, folder: Path) -> str:
    """sha256 of configuration, dtype, the files of tokenizer and chat template, and the tensors' shapes."""
    config = json.loads((folder / CONFIG).read_text())
    tokenizer = {name: entry.sha256 for name, entry in manifest.files.items() if name in _SERVED}
    shapes = {name: entry.shape for name, entry in manifest.tensors.items()}
    # An engine computes in the dtype that it was started with.
    dtype = config.get("dtype") or config.get("torch_dtype")
    shared = [
        dtype,
        {key: value for key, value in config.items() if key not in _NOT_ARCHITECTURE},
        tokenizer,
        shapes,
    ]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
