"""Which models can share a running engine: those that differ in nothing but their weights."""

import hashlib
import json
from pathlib import Path

from service.contracts.model import Manifest

_NOT_ARCHITECTURE = {"_name_or_path", "_model_name_or_path", "transformers_version", "torch_dtype", "dtype"}
_NOT_SERVED = {"adapter_config.json", "generation_config.json", "README.md", "model.safetensors.index.json"}


def fingerprint(manifest: Manifest, folder: Path) -> str:
    """sha256 of configuration, dtype, the files of tokenizer and chat template, and the tensors' shapes."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = {
        name: entry.sha256
        for name, entry in manifest.files.items()
        if not name.endswith(".safetensors") and name not in _NOT_SERVED | {"config.json"}
    }
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
