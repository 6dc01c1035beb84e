"""Upkeep of the model store and of its index in Redis."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.access.scopes import ADMIN, READ
from service.contracts.store import Garbage, Reindexed, StoreUsage
from service.models.cleaning import clean
from service.models.space import free_bytes
from service.parts import Wired

router = APIRouter(prefix="/store", tags=["store"])


@router.get("", dependencies=[READ])
def usage(parts: Wired) -> StoreUsage:
    """How much room there is, and what is in the trash."""
    return StoreUsage(
        used_bytes=parts.store.used_bytes(),
        quota_bytes=parts.settings.store_quota_bytes,
        free_bytes=free_bytes(parts.store),
        free_floor_bytes=parts.settings.free_floor_bytes,
        trashed=parts.store.trashed(),
    )


@router.post("/reindex", dependencies=[ADMIN])
def reindex(parts: Wired) -> Reindexed:
    """Rebuild what Redis knows of models, aliases, notes and damage from the store."""
    return Reindexed(models=parts.registry.reindex(), aliases=len(parts.registry.aliases()))


@router.post("/gc", dependencies=[ADMIN])
def collect_garbage(
    parts: Wired,
    dry_run: Annotated[bool, Query(description="only say what would be deleted")] = False,
    older_than: Annotated[
        int, Query(ge=0, le=10**9, description="seconds that a model has been in the trash")
    ] = 0,
) -> Garbage:
    """Delete for good what is in the trash, and work in staging that nobody goes on with."""
    return clean(parts.store, parts.jobs, older_than, dry_run)
