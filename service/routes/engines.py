"""GET /engines: the vLLM servers and what each is doing."""

from fastapi import APIRouter

from service.contracts.engine import EnginePage
from service.parts import Wired

router = APIRouter(tags=["generation"])


@router.get("/engines")
async def engines(parts: Wired) -> EnginePage:
    """Every engine alive: state, model, requests running, last load time."""
    return EnginePage(items=await parts.router.engines())
