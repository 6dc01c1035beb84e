"""GGUF to a Hugging Face checkpoint: `python -m workers.importing.convert_gguf FILE FOLDER PARENT`.

A process of its own, started by gguf.py: it can be killed at any moment, and its memory goes with it.
"""

import json
import sys
from pathlib import Path

from workers.parent_death import die_with_parent


def main(file: Path, folder: Path) -> None:
    """Write weights (bfloat16), config and tokenizer into `folder`; equal files give equal bytes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model, loading = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        output_loading_info=True,
    )
    if loading["missing_keys"] or loading["mismatched_keys"]:
        problems = sorted(map(str, {*loading["missing_keys"], *loading["mismatched_keys"]}))
        raise ValueError(f"the file does not give every weight of the model: {', '.join(problems[:3])}")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        _forget_version(folder / name)
    # safetensors makes its files readable to their owner alone, which an engine need not be.
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)


def _forget_version(path: Path) -> None:
    """The version of transformers says nothing about the model, but would give it another id."""
    content = json.loads(path.read_text())
    content.pop("transformers_version", None)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    die_with_parent(int(sys.argv[3]))
    main(Path(sys.argv[1]), Path(sys.argv[2]))
