"""The files of a result that tell of its tokens: tokenizer.json and what belongs to it."""

import json
from collections.abc import Mapping
from typing import Any

from service.contracts.reference import split_reference
from service.recipes.plan import Plan
from service.recipes.vocabulary.chat_template import CONFIG, JINJA, OLD_JSON, ReadFile, chat_template
from service.recipes.vocabulary.merged_tokenizer import Document, merged_tokenizer
from service.recipes.vocabulary.result import Vocabulary
from service.recipes.vocabulary.token_ids import Settings, set_token_ids
from service.sources.json_object import parse_object
from service.sources.tokenizer_json import TOKENIZER, Tokens, added_entries, model_words

Files = dict[str, bytes | None]
"""Name -> content; None for a file that the result must not have."""
_SPECIAL = "special_tokens_map.json"
_ADDED = "added_tokens.json"
_GENERATION = "generation_config.json"
_WORDS = (
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
"""A tokenizer's words in older forms."""
_TOKENIZER_FILES = (TOKENIZER, CONFIG, _SPECIAL, _ADDED, *_WORDS, JINJA, OLD_JSON)


def changed_files(plan: Plan, stored: ReadFile) -> Files:
    """The files that the result must not take from `plan.stored_donor` as they are there, config.json aside.

    `stored` reads files of stored models. Raises Malformed or OSError.
    """
    read = _reading(plan, stored)
    inner = plan.intermediates.get(split_reference(plan.donor)[0])
    files = changed_files(inner, stored) if inner else {}
    if plan.vocabulary is not None:
        files |= _tokenizer_files(plan.vocabulary, read)
        files |= _generation_config(plan.donor, plan.vocabulary, read)
    if plan.chat_template is not None:
        config = files[CONFIG] if CONFIG in files else read(plan.donor, CONFIG)
        files |= _template_files(chat_template(plan.chat_template, _merged(plan), read), config)
    return files


def _merged(plan: Plan) -> list[str]:
    """The models whose tensors are merged, in the recipe's order, what task vectors start from last."""
    origins = [task.origin for task in plan.tasks if task.origin]
    return list(dict.fromkeys(ref.model for task in plan.tasks for ref in task.sources)) + [
        ref.model for ref in origins[:1]
    ]


def _reading(plan: Plan, stored: ReadFile) -> ReadFile:
    """Reads files of all models that a plan refers to; of intermediates what they would have been."""
    inner = {name: changed_files(other, stored) for name, other in plan.intermediates.items()}

    def read(reference: str, name: str) -> bytes | None:
        model, _ = split_reference(reference)
        if model not in inner:
            return stored(model, name)
        changed = inner[model]
        return changed[name] if name in changed else stored(plan.intermediates[model].stored_donor, name)

    return read


def _tokenizer_files(vocabulary: Vocabulary, read: ReadFile) -> Files:
    """All of the tokenizer's files, whether they change or not."""
    files: Files = {name: read(vocabulary.donor, name) for name in _TOKENIZER_FILES}
    before = _object(read, vocabulary.donor, TOKENIZER)
    others = [_object(read, model, TOKENIZER) for model in vocabulary.models if model != vocabulary.donor]
    after = merged_tokenizer(before, others, vocabulary.tokens)
    if after is before:
        return files
    files[TOKENIZER] = _text(after, indent=None)
    for name in (CONFIG, _SPECIAL):
        if files[name] is not None:
            files[name] = _text(_companion(_object(read, vocabulary.donor, name), after, vocabulary.tokens))
    if files[_ADDED] is not None:
        files[_ADDED] = _text({entry["content"]: entry["id"] for entry in added_entries(after)})
    if not _same_words(before, after):
        files |= dict.fromkeys(_WORDS)
    return files


def _companion(settings: Settings, tokenizer: Document, tokens: Tokens) -> Settings:
    """tokenizer_config.json or special_tokens_map.json, less what is gone, with what was added."""
    kept = {
        key: value for key, value in settings.items() if not key.endswith("_token") or _is_in(value, tokens)
    }
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if isinstance(kept.get(key), list):
            kept[key] = [token for token in kept[key] if _is_in(token, tokens)]
    if "added_tokens_decoder" in kept:
        kept["added_tokens_decoder"] = {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in added_entries(tokenizer)
        }
    return kept


def _is_in(token: Any, tokens: Tokens) -> bool:
    """False for a setting that names a token which is gone; `add_bos_token` and its like name none."""
    content = token.get("content") if isinstance(token, dict) else token
    return not isinstance(content, str) or content in tokens


def _same_words(before: Document, after: Document) -> bool:
    """Whether only added tokens have changed."""
    added = {entry["content"] for entry in [*added_entries(before), *added_entries(after)]}
    return model_words(before).keys() - added == model_words(after).keys() - added


def _generation_config(donor: str, vocabulary: Vocabulary, read: ReadFile) -> Files:
    """The donor's, with the ids of the model that the tokenizer comes from."""
    if vocabulary.donor == donor or read(donor, _GENERATION) is None:
        return {}
    settings = _object(read, donor, _GENERATION)
    theirs = _object(read, vocabulary.donor, "config.json") | _object(read, vocabulary.donor, _GENERATION)
    set_token_ids(settings, theirs, donor, vocabulary)
    return {_GENERATION: _text({key: value for key, value in settings.items() if value is not None})}


def _template_files(template: str | None, config: bytes | None) -> Files:
    """A file of its own, which is what transformers reads first; nothing else may say otherwise."""
    if template is None:
        return {}
    files: Files = {JINJA: template.encode(errors="replace"), OLD_JSON: None}
    if config is not None:
        settings = parse_object(config, CONFIG)
        settings.pop("chat_template", None)
        files[CONFIG] = _text(settings)
    return files


def _object(read: ReadFile, model: str, name: str) -> Settings:
    raw = read(model, name)
    return parse_object(raw, name) if raw is not None else {}


def _text(document: Mapping[str, Any], indent: int | None = 2) -> bytes:
    return (json.dumps(document, indent=indent) + "\n").encode()
