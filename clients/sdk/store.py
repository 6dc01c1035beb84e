"""Upkeep of the model store, as the SDK shows it."""

from clients.sdk.connection import LONG, Connection
from service.contracts.store import Garbage, Reindexed, StoreUsage


class ModelStore:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reindex(self) -> Reindexed:
        """Rebuild Redis' index of models, aliases, notes and damage from the store."""
        answer = self._connection.send("POST", "/store/reindex", timeout=LONG)
        return Reindexed.model_validate_json(answer.content)

    def usage(self) -> StoreUsage:
        """How much room there is, and what is in the trash."""
        return StoreUsage.model_validate_json(self._connection.get("/store").content)

    def collect_garbage(self, *, dry_run: bool = False, older_than: int = 0) -> Garbage:
        """Delete for good what has been in the trash for so many seconds, and work that was abandoned."""
        query = {"dry_run": dry_run, "older_than": older_than}
        answer = self._connection.send("POST", "/store/gc", query, timeout=LONG)
        return Garbage.model_validate_json(answer.content)
