"""POST /merges: what may stand beside a recipe, and what it answers when there are several."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.contracts.names import AliasName, JobId, ModelId
from service.contracts.plan import PlanSummary
from service.contracts.problem import FieldProblem
from service.contracts.recipe import RecipeDocument

MAX_VARIANTS = 256
"""Recipes in one request."""


class SweptRecipe(RecipeDocument):
    """A recipe, or with `sweep` one for each combination of its lists."""

    sweep: dict[str, list[Any]] | None = Field(
        default=None,
        examples=[{"parameters.t": [0.3, 0.5], "models[0].parameters.weight": [0.5, 1.0]}],
        description="values to try, by path into the recipe; every combination is a recipe",
    )


class MergeRequest(SweptRecipe):
    materialize: bool = True
    """false: a virtual model, which is computed whenever an engine loads it, and not written."""


class MergeList(BaseModel):
    """Several recipes at once."""

    model_config = ConfigDict(extra="forbid")

    recipes: list[SweptRecipe] = Field(min_length=1, max_length=MAX_VARIANTS)
    materialize: bool = True


class Submitted(BaseModel):
    """What became of one recipe of several."""

    model: ModelId
    name: AliasName | None = None
    """With a name for all, each gets it with its number: grid-1, grid-2, …"""
    state: Literal["written", "virtual", "queued"]
    job: JobId | None = None
    """Makes the model, if it is queued."""
    varied: dict[str, Any] = {}
    """What the sweep chose, by path into the recipe."""
    warnings: list[FieldProblem] = []


class SubmittedList(BaseModel):
    """In the order of the list, or of the sweep, whose last key varies fastest."""

    items: list[Submitted]


class PlanList(BaseModel):
    """The answer to a dry run of several recipes."""

    items: list[PlanSummary]
