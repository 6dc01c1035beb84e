"""What a request calls a model: an id, an alias, or either with @ and a language."""

from dataclasses import dataclass

from service.languages.profile import Profile
from service.parts import Parts


@dataclass(frozen=True)
class Addressed:
    model: str
    """The model's id."""
    profile: Profile | None


def address(parts: Parts, reference: str, language: str | None = None) -> Addressed:
    """Resolve `alias@fr`; a language given beside it wins. Raises UnknownModel or NotALanguage."""
    name, _, tag = reference.partition("@")
    wanted = language if language is not None else (tag or None)
    profile = parts.profiles.get(wanted) if wanted is not None else None
    return Addressed(model=parts.registry.resolve(name), profile=profile)
