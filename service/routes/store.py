"""Upkeep of the model store and of its index in Redis."""

from fastapi import APIRouter

from service.contracts.store import Reindexed
from service.parts import Wired

router = APIRouter(prefix="/store", tags=["store"])


@router.post("/reindex")
def reindex(parts: Wired) -> Reindexed:
    """Rebuild what Redis knows of models, aliases, notes and damage from the store."""
    return Reindexed(models=parts.registry.reindex(), aliases=len(parts.registry.aliases()))
