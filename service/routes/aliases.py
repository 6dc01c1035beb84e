"""Aliases: names that point at models, and can be moved."""

from fastapi import APIRouter

from service.access.scopes import MERGE, READ
from service.contracts.model import Alias, AliasMove, AliasTarget
from service.contracts.names import AliasName
from service.errors import ProblemError
from service.models.registry import UnknownModel
from service.parts import Parts, Wired
from service.recipes.refusal import nearest, refuse
from service.routes.refusals import refusals

router = APIRouter(prefix="/aliases", tags=["models"])


@router.get("", dependencies=[READ])
def list_aliases(parts: Wired) -> list[Alias]:
    return [Alias(name=name, model=model) for name, model in sorted(parts.registry.aliases().items())]


@router.put("/{name}", dependencies=[MERGE])
def put_alias(name: AliasName, target: AliasTarget, parts: Wired) -> Alias:
    """Point an alias at a model; requests already accepted keep the model they resolved to."""
    try:
        model = parts.registry.resolve(target.model)
    except UnknownModel as error:
        raise refuse("model", detail=str(error)) from None
    parts.registry.set_alias(name, model)
    return Alias(name=name, model=model)


@router.delete("/{name}", dependencies=[MERGE], status_code=204, responses=refusals(404))
def delete_alias(name: AliasName, parts: Wired) -> None:
    """The model stays, and so does the alias' history."""
    if name not in parts.registry.aliases():
        raise _unknown(parts, name)
    parts.registry.remove_alias(name)


@router.get("/{name}/history", dependencies=[READ], responses=refusals(404))
def alias_history(name: AliasName, parts: Wired) -> list[AliasMove]:
    """The models that it has pointed at, oldest first; null: it was deleted."""
    moves = parts.store.annotations.history(name)
    if not moves:
        raise _unknown(parts, name)
    return moves


def _unknown(parts: Parts, name: str) -> ProblemError:
    detail = f"there is no alias '{name}': {nearest(name, parts.registry.aliases())}"
    return ProblemError(404, "unknown-model", detail)
