"""Everything that is known about serving at one moment: what GET /engines shows and workers schedule by."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from service.connection import text
from service.contracts.engine import Engine, EnginePage, LoadFailure, ServeWorker, WaitingModel
from service.engines import keys


def read_overview(redis: "Redis") -> EnginePage:
    """Engines and workers that are alive, models that requests wait for, pins, failures."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.smembers(keys.ENGINES)
        pipe.smembers(keys.WORKERS)
        pipe.zrange(keys.DEMAND, 0, -1, withscores=True)
        pipe.smembers(keys.PINS)
        pipe.hvals(keys.FAILURES)
        engines, workers, demand, pinned, failures = pipe.execute()
    pins = _sorted(pinned)
    return EnginePage(
        items=_engines(redis, _sorted(engines), set(pins)),
        workers=_workers(redis, _sorted(workers)),
        queue=_queue(redis, [(text(model), since) for model, since in demand]),
        pins=pins,
        failures=sorted((LoadFailure.model_validate_json(raw) for raw in failures), key=lambda f: f.at),
    )


def _engines(redis: "Redis", ids: list[str], pins: set[str]) -> list[Engine]:
    now = time.time()
    with redis.pipeline(transaction=False) as pipe:
        for ident in ids:
            pipe.hget(keys.record(ident), "json")
            pipe.zrangebyscore(keys.leases(ident), now, "+inf")
            pipe.hgetall(keys.running(ident))
            pipe.hgetall(keys.use(ident))
        answers = pipe.execute()
    found = []
    columns = [answers[column::4] for column in range(4)]
    for ident, raw, leases, running, use in zip(ids, *columns, strict=True):
        if raw is None:
            redis.srem(keys.ENGINES, ident)
            continue
        engine = Engine.model_validate_json(raw)
        seen = {
            "leases": sum(int(running.get(lease, 1)) for lease in leases),
            "waiting": _waiting_requests(redis, engine.model) if engine.model else 0,
            "pinned": engine.model in pins,
        }
        found.append(engine.model_copy(update=seen | _use(use)))
    return found


def _use(raw: dict[Any, Any]) -> dict[str, object]:
    fields = {text(name): float(value) for name, value in raw.items()}
    used = fields.get("last_used")
    return {
        "last_used_at": datetime.fromtimestamp(used, UTC) if used is not None else None,
        "keep_alive": fields.get("keep_alive"),
    }


def _workers(redis: "Redis", names: list[str]) -> list[ServeWorker]:
    found = []
    for name in names:
        raw = redis.get(keys.worker(name))
        if raw is None:
            redis.srem(keys.WORKERS, name)
        else:
            found.append(ServeWorker.model_validate_json(raw))
    return found


def _queue(redis: "Redis", demand: list[tuple[str, float]]) -> list[WaitingModel]:
    """Without models that nobody waits for any more, or that have just failed."""
    queue = []
    for model, since in demand:
        requests = _waiting_requests(redis, model)
        if requests and not redis.exists(keys.load_error(model)):
            started = datetime.fromtimestamp(since, UTC)
            queue.append(WaitingModel(model=model, requests=requests, since=started))
        else:
            redis.zrem(keys.DEMAND, model)
    return queue


def _waiting_requests(redis: "Redis", model: str) -> int:
    """How many requests wait for the model, wanted or just loaded."""
    return int(redis.zcount(keys.waiting(model), time.time(), "+inf"))


def _sorted(raw: Iterable[object]) -> list[str]:
    return sorted(map(text, raw))
