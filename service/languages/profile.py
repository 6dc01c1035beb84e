"""Language profiles: the instruction that asks for a language, written in that language."""

from pathlib import Path

import langcodes
from pydantic import BaseModel, ConfigDict

_BUILT_IN = Path(__file__).parent / "profiles"


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
        """The profile of a tag, of its language (fr for fr-CA), or a general one. Raises NotALanguage."""
        language = parse_tag(tag)
        exact = self._profiles.get(language.to_tag()) or self._profiles.get(language.language or "")
        return exact or _general(language)


def parse_tag(tag: str) -> langcodes.Language:
    """Raises NotALanguage for a malformed tag and for subtags that nobody registered."""
    if not langcodes.tag_is_valid(tag):
        raise NotALanguage(f"'{tag}' is no BCP-47 language tag; examples: en, fr, pt-BR, zh-Hant")
    return langcodes.Language.get(tag)


def _general(language: langcodes.Language) -> Profile:
    name = language.display_name()
    return Profile(
        tag=language.to_tag(),
        name=language.autonym(),
        instruction=f"You are a helpful assistant. Answer only in {name} ({language.autonym()}).",
    )
