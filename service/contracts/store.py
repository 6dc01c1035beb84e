"""The model store as a whole."""

from pydantic import BaseModel


class Reindexed(BaseModel):
    """What the index in Redis lists, after it was rebuilt from the store."""

    models: int
    aliases: int
