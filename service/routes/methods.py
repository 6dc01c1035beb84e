"""GET /methods: the merge methods and their parameters."""

from functools import cache

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import TypeAdapter

from service.access.scopes import READ
from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodDescription, describe

router = APIRouter(tags=["merges"])


@router.get("/methods", response_model=list[MethodDescription], dependencies=[READ])
async def methods() -> Response:
    """Every merge method, with the JSON Schema of its parameters."""
    return Response(_described(), media_type="application/json")


@cache
def _described() -> bytes:
    """Always the same, and the schemas take as long to make as twenty other answers."""
    descriptions = [describe(spec) for spec in METHODS.values()]
    return TypeAdapter(list[MethodDescription]).dump_json(descriptions, by_alias=True)
