"""Deletes models that nothing needs."""

import json

from service.contracts.model import Model
from service.engines.overview import read_overview
from service.errors import ProblemError
from service.models.lineage import bases
from service.parts import Parts


def remove(parts: Parts, model_id: str, force: bool) -> None:
    """Move the model to the trash. Raises ProblemError when something needs it, unless forced."""
    needed = [] if force else uses(parts, parts.registry.get(model_id))
    if needed:
        detail = f"{model_id} is in use: {'; '.join(needed)}. ?force=true deletes it all the same"
        raise ProblemError(409, "model-in-use", detail)
    parts.registry.remove(model_id)


def uses(parts: Parts, model: Model) -> list[str]:
    """What would break without it, in words."""
    found = [f"the alias '{alias}' points at it" for alias in model.aliases]
    found += _served(parts, model.id)
    for other in parts.registry.models():
        if other.virtual and model.id in other.sources:
            found.append(f"the virtual model {other.id} is merged from it")
        elif other.weights == "adapter" and model.id in bases(other):
            found.append(f"the adapter {other.id} applies to it")
    for job in parts.jobs.active():
        if model.id == job.model or model.id in json.dumps(job.request):
            found.append(f"the job {job.id} needs it")
    return found


def _served(parts: Parts, model_id: str) -> list[str]:
    serving = read_overview(parts.redis)
    found = [
        f"the engine {engine.id} serves it"
        for engine in serving.items
        if model_id in (engine.model, engine.next_model)
    ]
    found += ["requests wait for it" for waiting in serving.queue if waiting.model == model_id]
    return found + ["it is pinned" for pin in serving.pins if pin == model_id]
