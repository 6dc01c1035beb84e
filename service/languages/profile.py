"""Language profiles: the instruction that asks for a language, written in that language."""

from pathlib import Path

import langcodes
from pydantic import BaseModel, ConfigDict

_BUILT_IN = Path(__file__).parent / "profiles"
_NO_LANGUAGE = {None, "und", "mul", "zxx", "mis"}


class Profile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: str
    name: str
    """The language's own name for itself."""
    instruction: str
    """System message for requests that bring none of their own."""


class NotALanguage(ValueError):
    """Not a well-formed and registered BCP-47 tag."""


class Profiles:
    """The built-in profiles, those of a folder of the operator's, and a general one for every other tag."""

    def __init__(self, folder: Path | None = None) -> None:
        paths = [path for place in (_BUILT_IN, folder) if place for path in sorted(place.glob("*.json"))]
        found = [Profile.model_validate_json(path.read_bytes()) for path in paths]
        self._profiles = {profile.tag: profile for profile in found}

    def all(self) -> list[Profile]:
        return [self._profiles[tag] for tag in sorted(self._profiles)]

    def get(self, tag: str) -> Profile:
        """The profile of a tag, of its language in the same script (fr for fr-CA), or a general one.

        Raises NotALanguage.
        """
        language = parse_tag(tag)
        exact = self._profiles.get(language.to_tag())
        return exact or self._of_language(language) or _general(language)

    def _of_language(self, language: langcodes.Language) -> Profile | None:
        profile = self._profiles.get(language.language or "")
        return (
            profile if profile and _script(langcodes.Language.get(profile.tag)) == _script(language) else None
        )


def parse_tag(tag: str) -> langcodes.Language:
    """Raises NotALanguage for a malformed tag, for subtags that nobody registered, and for "no language"."""
    if not langcodes.tag_is_valid(tag):
        raise NotALanguage(f"'{tag}' is no BCP-47 language tag; examples: en, fr, pt-BR, zh-Hant")
    language = langcodes.Language.get(tag)
    if language.language in _NO_LANGUAGE:
        raise NotALanguage(f"'{tag}' names no language to answer in; examples: en, fr, pt-BR, zh-Hant")
    return language


def _script(language: langcodes.Language) -> str | None:
    """The one given, else the one that the language is usually written in."""
    return language.maximize().script


def _general(language: langcodes.Language) -> Profile:
    name = language.display_name()
    return Profile(
        tag=language.to_tag(),
        name=language.autonym(),
        instruction=f"You are a helpful assistant. Answer only in {name} ({language.autonym()}).",
    )
