"""Merges as the SDK shows them: a recipe in, a job (or the model, if it is built already) out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from clients.sdk.connection import Connection
from clients.sdk.models import job_or_model
from service.contracts.job import Job
from service.contracts.model import Model
from service.contracts.plan import PlanSummary

Recipe = str | Path | Mapping[str, Any]
"""Recipe text, a file that holds it, or the parsed document."""


class Merges:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, recipe: Recipe, name: str | None = None, seed: int | None = None) -> Job | Model:
        """Queue the merge. Raises ProblemError when the recipe cannot work."""
        answer = self._post(recipe, name, seed, None)
        return job_or_model(answer.status_code, answer.content)

    def plan(self, recipe: Recipe, seed: int | None = None) -> PlanSummary:
        """What the merge would read, write and be called, without doing it."""
        return PlanSummary.model_validate_json(self._post(recipe, None, seed, "true").content)

    def _post(
        self, recipe: Recipe, name: str | None, seed: int | None, dry_run: str | None
    ) -> httpx2.Response:
        query = {"name": name, "seed": seed, "dry_run": dry_run}
        return self._connection.send("POST", "/merges", query, read_recipe(recipe), "application/yaml")


def read_recipe(recipe: Recipe) -> bytes:
    """The text that is sent: a file or a string verbatim, a document as JSON (which is YAML too)."""
    if isinstance(recipe, Path):
        return recipe.read_bytes()
    return (recipe if isinstance(recipe, str) else json.dumps(recipe)).encode()
