"""GET /engines: the vLLM servers and what each is doing. PUT /models/{model}/pin: keep a model loaded."""

from fastapi import APIRouter

from service.access.scopes import ADMIN, READ
from service.contracts.engine import EnginePage, Pin
from service.engines.overview import read_overview
from service.engines.pins import pin, unpin
from service.parts import Wired
from service.routes.refusals import refusals

router = APIRouter(tags=["generation"])


@router.get("/engines", dependencies=[READ])
def engines(parts: Wired) -> EnginePage:
    """Engines and serve workers that are alive, models that requests wait for, why loads failed."""
    return read_overview(parts.redis)


@router.put("/models/{model}/pin", dependencies=[ADMIN], responses=refusals(404))
def pin_model(model: str, parts: Wired) -> Pin:
    """Load the model as soon as there is room, and keep it loaded until it is unpinned."""
    found = parts.registry.resolve(model)
    pin(parts.redis, found)
    return Pin(model=found)


@router.delete("/models/{model}/pin", dependencies=[ADMIN], status_code=204, responses=refusals(404))
def unpin_model(model: str, parts: Wired) -> None:
    """Let the model be evicted and unloaded again."""
    unpin(parts.redis, parts.registry.resolve(model))
