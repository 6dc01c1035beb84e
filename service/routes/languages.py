"""GET /languages: the languages with a profile of their own (any other BCP-47 tag gets a general one)."""

from fastapi import APIRouter

from service.access.scopes import READ
from service.contracts.language import LanguageProfile
from service.contracts.problem import FieldProblem
from service.errors import ProblemError
from service.languages.profile import NotALanguage
from service.parts import Wired

router = APIRouter(prefix="/languages", tags=["generation"])


@router.get("", dependencies=[READ])
def languages(parts: Wired) -> list[LanguageProfile]:
    """Each profile's tag, name, instruction and default model."""
    return parts.profiles.all()


@router.get("/{tag}", dependencies=[READ])
def language(tag: str, parts: Wired) -> LanguageProfile:
    """What requests in this language get: its own profile, that of fr for fr-CA, or a general one."""
    try:
        return parts.profiles.get(tag)
    except NotALanguage as error:
        place = FieldProblem(pointer="/tag", detail=str(error))
        raise ProblemError(422, "unknown-language", str(error), errors=[place]) from None
