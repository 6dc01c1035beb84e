"""A model's tokenizer, read from its folder: counting tokens waits for no engine and swaps no weights.

Harnesses ask for it first of all and give up after seconds, while an engine may take a minute to start.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


def token_ids(folder: Path, text: str) -> list[int] | None:
    """Ids without special tokens; None where the folder has no tokenizer.json."""
    tokenizer = _load(folder)
    return None if tokenizer is None else list(tokenizer.encode(text, add_special_tokens=False).ids)


def read_tokenizer_info(folder: Path) -> dict[str, Any] | None:
    """tokenizer_config.json with special tokens as texts and the chat template; None where there is none."""
    try:
        info: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text())
    except FileNotFoundError:
        return None
    for name in _SPECIAL:
        if isinstance(info.get(name), dict):
            info[name] = info[name]["content"]
    template = folder / "chat_template.jinja"
    return info | {"chat_template": template.read_text()} if template.is_file() else info


@lru_cache(maxsize=32)
def _load(folder: Path) -> Tokenizer | None:
    path = folder / "tokenizer.json"
    return Tokenizer.from_file(str(path)) if path.is_file() else None
