"""Language profiles: the instruction that asks for a language, written in that language."""

from pathlib import Path

import langcodes

from service.contracts.language import LanguageProfile

_BUILT_IN = Path(__file__).parent / "profiles"
_NO_LANGUAGE = {None, "und", "mul", "zxx", "mis"}


class NotALanguage(ValueError):
    """Not a well-formed and registered BCP-47 tag."""


class Profiles:
    """The built-in profiles, those of a folder of the operator's, and a general one for every other tag.

    A file of the folder goes before the built-in one of the same tag.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Raises ValueError, with the file's name, for a file that is no profile."""
        paths = [path for place in (_BUILT_IN, folder) if place for path in sorted(place.glob("*.json"))]
        self._profiles = {profile.tag: profile for profile in map(_read, paths)}

    def all(self) -> list[LanguageProfile]:
        return [self._profiles[tag] for tag in sorted(self._profiles)]

    def get(self, tag: str) -> LanguageProfile:
        """The profile of a tag, of its language in the same script (fr for fr-CA), or a general one.

        Raises NotALanguage.
        """
        language = parse_tag(tag)
        exact = self._profiles.get(language.to_tag())
        return exact or self._of_language(language) or _general(language)

    def _of_language(self, language: langcodes.Language) -> LanguageProfile | None:
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


def _read(path: Path) -> LanguageProfile:
    try:
        profile = LanguageProfile.model_validate_json(path.read_bytes())
        return profile.model_copy(update={"tag": parse_tag(profile.tag).to_tag()})
    except ValueError as error:
        raise ValueError(f"{path} is no language profile: {error}") from error


def _script(language: langcodes.Language) -> str | None:
    """The one given, else the one that the language is usually written in."""
    return language.maximize().script


def _general(language: langcodes.Language) -> LanguageProfile:
    name = language.display_name()
    return LanguageProfile(
        tag=language.to_tag(),
        name=language.autonym(),
        instruction=f"You are a helpful assistant. Answer only in {name} ({language.autonym()}).",
    )
