"""What requests call a model, looked up in one round trip that no thread waits for."""

from redis.asyncio import Redis
from starlette.concurrency import run_in_threadpool

from service.connection import text
from service.models.registry import ALIASES, DAMAGED, MODELS, Registry

_LOOK_UP = """
local id = ARGV[1]
if redis.call('HEXISTS', KEYS[1], id) == 0 then id = redis.call('HGET', KEYS[2], id) end
if not id or redis.call('HEXISTS', KEYS[3], id) == 1 then return false end
return id
"""


class UsableModels:
    def __init__(self, registry: Registry, redis: "Redis") -> None:
        self._registry = registry
        self._look_up = redis.register_script(_LOOK_UP)

    async def find(self, reference: str) -> str:
        """The id of a model that can be asked. Raises UnknownModel, DamagedModel."""
        found = await self._look_up(keys=[MODELS, ALIASES, DAMAGED], args=[reference])
        # The registry knows what is wrong with the others.
        return text(found) if found else await run_in_threadpool(self._registry.usable, reference)
