"""Merges as the SDK shows them: a recipe in, a job out, or the model if it is built or virtual."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from clients.sdk.connection import Connection, Query
from clients.sdk.models import job_or_model
from service.contracts.job import Job
from service.contracts.merges import PlanList, SubmittedList
from service.contracts.model import Model
from service.contracts.plan import PlanSummary

Recipe = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Text, a file that holds it, the parsed document, or a list of documents that refer to each other by name.

With a `sweep`, or a list under `recipes`, it stands for several.
"""


class Merges:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(
        self,
        recipe: Recipe,
        name: str | None = None,
        seed: int | None = None,
        materialize: bool | None = None,
        *,
        lenient: bool = False,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job | Model:
        """Queue one merge; with `materialize=False`, register it as a virtual model instead.

        With `lenient`, unknown keys are among the answer's warnings instead of refused. `timeout` is in
        seconds, of one attempt. Sent again within a day with the same `idempotency_key`, the same request
        gets the same answer and queues nothing. Raises ProblemError when the recipe cannot work.
        """
        done = self.send(
            recipe, name, seed, materialize, lenient=lenient, timeout=timeout, idempotency_key=idempotency_key
        )
        if isinstance(done, SubmittedList):
            raise TypeError(f"these are {len(done.items)} recipes, all submitted: submit_all() takes several")
        return done

    def submit_all(
        self,
        recipes: Recipe,
        name: str | None = None,
        seed: int | None = None,
        materialize: bool | None = None,
        *,
        lenient: bool = False,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> SubmittedList:
        """Submit a recipe with a `sweep`, or several recipes. Raises ProblemError, and takes none then."""
        done = self.send(
            recipes,
            name,
            seed,
            materialize,
            lenient=lenient,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )
        if not isinstance(done, SubmittedList):
            raise TypeError("this is one recipe without a sweep, and submitted: submit() takes it")
        return done

    def send(
        self,
        recipes: Recipe,
        name: str | None = None,
        seed: int | None = None,
        materialize: bool | None = None,
        *,
        lenient: bool = False,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job | Model | SubmittedList:
        """Submit whatever it is: one recipe or several. As submit() otherwise."""
        query: Query = {
            "name": name,
            "seed": seed,
            "materialize": materialize,
            "lenient": lenient or None,
            "timeout": timeout,
        }
        answer = self._post(recipes, query, idempotency_key)
        if "items" in answer.json():
            return SubmittedList.model_validate_json(answer.content)
        return job_or_model(answer.status_code, answer.content)

    def plan(self, recipe: Recipe, seed: int | None = None, *, lenient: bool = False) -> PlanSummary:
        """What the merge would read, write and be called, without doing it."""
        return PlanSummary.model_validate_json(self._plan(recipe, seed, lenient).content)

    def plan_any(
        self, recipes: Recipe, seed: int | None = None, *, lenient: bool = False
    ) -> PlanSummary | PlanList:
        """The same for whatever it is: one recipe or several."""
        answer = self._plan(recipes, seed, lenient)
        kind = PlanList if "items" in answer.json() else PlanSummary
        return kind.model_validate_json(answer.content)

    def _plan(self, recipes: Recipe, seed: int | None, lenient: bool) -> httpx2.Response:
        return self._post(recipes, {"seed": seed, "dry_run": True, "lenient": lenient or None})

    def _post(self, recipes: Recipe, query: Query, idempotency_key: str | None = None) -> httpx2.Response:
        return self._connection.send(
            "POST",
            "/merges",
            query,
            read_recipe(recipes),
            "application/yaml",
            idempotency_key=idempotency_key,
        )


def read_recipe(recipes: Recipe) -> bytes:
    """The text that is sent: a file or a string verbatim, documents as JSON (which is YAML too)."""
    if isinstance(recipes, Path):
        return recipes.read_bytes()
    if isinstance(recipes, str):
        return recipes.encode()
    return json.dumps(recipes).encode()
