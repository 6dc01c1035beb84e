"""The chat template of a result: one of the models', a named one, or the recipe's own Jinja text."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from service.recipes.refusal import nearest
from service.sources.json_object import parse_object

ReadFile = Callable[[str, str], bytes | None]
"""A file of a model, by model and name; None if it has none of that name."""
AUTO = "auto"
CONFIG = "tokenizer_config.json"
JINJA = "chat_template.jinja"
OLD_JSON = "chat_template.json"
"""Where processors used to keep it."""
_NAMED = Path(__file__).parent / "templates"


def template_problem(setting: str) -> str | None:
    """What is wrong with a setting that is neither a name nor a Jinja text."""
    if "{" in setting or setting in (AUTO, *_names()):
        return None
    return f"'{setting}' is neither a Jinja text nor a template's name: {nearest(setting, [AUTO, *_names()])}"


def chat_template(setting: str, models: Iterable[str], read: ReadFile) -> str | None:
    """The text for a recipe's setting; None for `auto` where no model has a template.

    `auto` takes the one that most models have, the first of them where that is a draw.
    """
    if setting in _names():
        return (_NAMED / f"{setting}.jinja").read_text()
    if setting != AUTO:
        return setting
    found = Counter(text for model in models if (text := _own_template(model, read)))
    return found.most_common(1)[0][0] if found else None


def _own_template(model: str, read: ReadFile) -> str | None:
    if (jinja := read(model, JINJA)) is not None:
        return jinja.decode()
    for name in (OLD_JSON, CONFIG):
        raw = read(model, name)
        template = parse_object(raw, name).get("chat_template") if raw else None
        if template:
            return _default(template)
    return None


def _default(template: Any) -> str | None:
    """A template, or the one called default of a list of named ones."""
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _names() -> list[str]:
    return sorted(path.stem for path in _NAMED.glob("*.jinja"))
