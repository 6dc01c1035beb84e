"""GET /languages: the languages with a profile of their own (any other BCP-47 tag gets a general one)."""

from fastapi import APIRouter

from service.languages.profile import Profile
from service.parts import Wired

router = APIRouter(tags=["generation"])


@router.get("/languages")
def languages(parts: Wired) -> list[Profile]:
    """Each profile's tag, name and instruction."""
    return parts.profiles.all()
