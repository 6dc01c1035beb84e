"""Upkeep of the model store, as the SDK shows it."""

from clients.sdk.connection import LONG, Connection
from service.contracts.store import Reindexed


class ModelStore:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reindex(self) -> Reindexed:
        """Rebuild Redis' index of models, aliases, notes and damage from the store."""
        answer = self._connection.send("POST", "/store/reindex", timeout=LONG)
        return Reindexed.model_validate_json(answer.content)
