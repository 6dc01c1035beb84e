"""Where a model comes from, and what came of it: a graph."""

from typing import Literal

from pydantic import BaseModel

from service.contracts.model import ModelKind, ModelState
from service.contracts.names import ModelId

EdgeRole = Literal["ingredient", "base"]
"""`base`: the base model of a merge's task vectors, or the model under an adapter."""


class LineageNode(BaseModel):
    id: ModelId
    present: bool = True
    """False for a model that was deleted: of it nothing but the id is known."""
    name: str | None = None
    kind: ModelKind | None = None
    method: str | None = None
    virtual: bool = False
    state: ModelState | None = None


class LineageEdge(BaseModel):
    """`source` went into `target`."""

    source: ModelId
    target: ModelId
    role: EdgeRole


class Lineage(BaseModel):
    """All that `model` was made of, directly or not, and all that was made of it."""

    model: ModelId
    nodes: list[LineageNode]
    edges: list[LineageEdge]
