"""The nine experts: which languages each one sees and how many of its examples are refusals."""

from dataclasses import dataclass

LANGUAGES = ("en", "hi", "fr", "es", "ar", "ru")


@dataclass(frozen=True)
class Expert:
    name: str
    languages: tuple[str, ...]
    harmful_share: float
    epochs: int
    batch: int


EXPERTS = (
    Expert("safety", LANGUAGES, 1.0, epochs=4, batch=16),
    Expert("general", LANGUAGES, 0.0, epochs=6, batch=16),
    Expert("mix15", LANGUAGES, 0.15, epochs=6, batch=16),
    *(Expert(language, (language,), 0.15, epochs=8, batch=8) for language in LANGUAGES),
)
