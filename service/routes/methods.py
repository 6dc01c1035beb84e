"""GET /methods: the merge methods and their parameters."""

from fastapi import APIRouter

from service.access.scopes import READ
from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodDescription, describe

router = APIRouter(tags=["merges"])


@router.get("/methods", dependencies=[READ])
def methods() -> list[MethodDescription]:
    """Every merge method, with the JSON Schema of its parameters."""
    return [describe(spec) for spec in METHODS.values()]
