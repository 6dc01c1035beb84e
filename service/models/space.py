"""Is there room in the store? The disk keeps a floor of free space, the store may have a quota."""

import shutil

from service.models.store import Store
from service.settings import Settings


def free_bytes(store: Store) -> int:
    """On the store's disk."""
    return shutil.disk_usage(store.root).free


def shortage(store: Store, settings: Settings, needed: int) -> str | None:
    """Why `needed` more bytes have no room, with the numbers; None when they have."""
    free, floor = free_bytes(store), settings.free_floor_bytes
    if free - needed < floor:
        return (
            f"the result needs {needed} bytes; the store's disk has {free} free, "
            f"of which {floor} are to stay free"
        )
    quota = settings.store_quota_bytes
    if quota is not None and (used := store.used_bytes()) + needed > quota:
        return (
            f"the result needs {needed} bytes; the store has {used} of its quota of {quota} bytes in use: "
            "`polymerge gc` empties the trash"
        )
    return None
