"""The model store as a whole."""

from pydantic import BaseModel


class Reindexed(BaseModel):
    """What the index in Redis lists, after it was rebuilt from the store."""

    models: int
    aliases: int


class StoreUsage(BaseModel):
    """Room in the store, in bytes."""

    used_bytes: int
    """By models, trash and work under way; files that models share count for each."""
    quota_bytes: int | None
    free_bytes: int
    """On the store's disk."""
    free_floor_bytes: int
    """So much of that stays free."""
    trashed: list[str]
    """Folders in the trash: TIME.ROOT.ID."""


class GarbageItem(BaseModel):
    path: str
    """In the store."""
    size_bytes: int


class Garbage(BaseModel):
    """What was deleted for good, or with `dry_run` would be."""

    dry_run: bool
    items: list[GarbageItem]
    size_bytes: int
