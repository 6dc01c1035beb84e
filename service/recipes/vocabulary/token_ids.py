"""What config.json and generation_config.json say of the vocabulary: its size, ids of special tokens."""

import re
from collections.abc import Mapping
from typing import Any

from service.recipes.vocabulary.result import Vocabulary

Settings = dict[str, Any]

_TOKEN_ID = re.compile(r".*_token_(id|ids|index)")


def set_vocabulary(
    config: Settings, configs: Mapping[str, Settings], donor: str, vocabulary: Vocabulary
) -> None:
    """Give `config`, which is that of `donor`, the result's vocabulary; its part on texts, too."""
    theirs = configs[vocabulary.donor]
    text = config.get("text_config")
    if isinstance(text, dict):
        # A part takes ids where its own model has them, which may be one without parts.
        own = theirs.get("text_config")
        _set_part(text, own if isinstance(own, dict) else theirs, donor, vocabulary)
    if "vocab_size" in config or not isinstance(text, dict):
        _set_part(config, theirs, donor, vocabulary)


def _set_part(part: Settings, theirs: Settings, donor: str, vocabulary: Vocabulary) -> None:
    set_token_ids(part, theirs, donor, vocabulary)
    part["vocab_size"] = vocabulary.rows


def set_token_ids(settings: Settings, theirs: Settings, donor: str, vocabulary: Vocabulary) -> None:
    """Give `settings`, which are those of `donor`, the ids of the result.

    Those that the tokenizer's own model has (`theirs`) are right; others follow their token, and go with it.
    """
    if vocabulary.donor == donor:
        return
    old = {row: token for token, row in vocabulary.models[donor].items()}
    for key in [key for key in settings if _TOKEN_ID.fullmatch(key)]:
        settings[key] = _renumbered(settings[key], old, vocabulary.tokens)
    settings |= {
        key: value for key, value in theirs.items() if _TOKEN_ID.fullmatch(key) and value is not None
    }


def _renumbered(value: Any, old: Mapping[int, str], new: Mapping[str, int]) -> Any:
    """None for a token that is gone."""
    if isinstance(value, list):
        return [id_ for item in value if (id_ := _renumbered(item, old, new)) is not None] or None
    return new.get(old[value]) if type(value) is int and value in old else None
