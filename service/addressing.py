"""What a request calls a model: an id, an alias, or either with @ and a language."""

from dataclasses import dataclass

from service.contracts.problem import FieldProblem
from service.errors import ProblemError
from service.languages.profile import NotALanguage, Profile
from service.parts import Parts
from service.registry import UnknownModel


@dataclass(frozen=True)
class Addressed:
    model: str
    """The model's id."""
    profile: Profile | None


def address(parts: Parts, reference: str, language: str | None = None) -> Addressed:
    """Resolve `alias@fr`; a language given beside it wins. Raises ProblemError at /model or /language."""
    name, _, tag = reference.partition("@")
    wanted = language if language is not None else (tag or None)
    try:
        profile = parts.profiles.get(wanted) if wanted is not None else None
        return Addressed(model=parts.registry.resolve(name), profile=profile)
    except NotALanguage as error:
        place = FieldProblem(pointer="/model" if language is None else "/language", detail=str(error))
        raise ProblemError(422, "unknown-language", str(error), errors=[place]) from None
    except UnknownModel as error:
        place = FieldProblem(pointer="/model", detail=str(error))
        raise ProblemError(404, "unknown-model", str(error), errors=[place]) from None
