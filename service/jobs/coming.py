"""Models that jobs under way will make: a recipe may name them before they are there."""

from collections.abc import Iterable, Mapping, Sequence

from service.contracts.job import Job
from service.jobs.queue import JobQueue
from service.models.registry import Registry, UnknownModel
from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan
from service.recipes.refusal import refuse
from service.recipes.stored import plan_stored

_LONGEST_CHAIN = 50
"""Of jobs that wait for each other: each is planned again with whatever comes after it."""


class ComingModels:
    """Of one request: what it has found stays as it is."""

    def __init__(self, registry: Registry, jobs: JobQueue) -> None:
        self._registry, self._jobs = registry, jobs
        self._plans: dict[str, Plan] = {}
        self._makers: dict[str, str] = {}
        """The job that makes a model."""

    def resolve(self, reference: str) -> str:
        """The id of the model that is there, else of the one that a job will make.

        Raises UnknownModel, DamagedModel.
        """
        try:
            return self._registry.usable(reference)
        except LookupError:
            maker = self._maker(reference)
            if maker is None:
                raise
        if maker.model is None:
            raise UnknownModel(
                f"'{reference}' has no id before the {maker.kind} {maker.id} has made it: "
                "send this again when that has succeeded"
            )
        return maker.model

    def plans(self, model_ids: Iterable[str]) -> Mapping[str, Plan]:
        """Those of the models that are not there yet, and of all that they are made from and isn't either.

        Raises Refused.
        """
        for model_id in model_ids:
            self._plan(model_id, 1)
        return self._plans

    def makers(self, model_ids: Iterable[str]) -> Sequence[str]:
        """The jobs that make those of the models that are not there yet."""
        return [self._makers[model_id] for model_id in model_ids if model_id in self._makers]

    def _maker(self, reference: str) -> Job | None:
        named = self._jobs.naming(reference)
        if len(named) > 1:
            listed = ", ".join(f"{job.model or 'that'} of {job.id}" for job in named)
            raise UnknownModel(f"several jobs make a '{reference}': {listed}; name it by its id")
        return named[0] if named else self._jobs.making(reference)

    def _plan(self, model_id: str, length: int) -> None:
        if model_id in self._plans:
            return
        # In this order, because a job ends after its model is there.
        job = self._jobs.making(model_id)
        if self._registry.store.sound(model_id):
            return
        if job is None:
            if self._registry.store.has(model_id):
                return
            raise refuse(detail=f"{model_id} was to be made by a job, which has just ended without it")
        if length > _LONGEST_CHAIN:
            raise refuse(detail=f"at most {_LONGEST_CHAIN} jobs may wait for each other in a row")
        recipe = validate_recipe(job.request["recipe"])
        for source in recipe.references():
            self._plan(source, length + 1)
        plan = plan_stored(recipe, self._registry.store, job.request["seed"], self._plans)
        self._plans |= {**plan.intermediates, model_id: plan}
        self._makers[model_id] = job.id
