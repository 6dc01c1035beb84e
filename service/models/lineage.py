"""The graph of what models are made of, from their summaries."""

from collections.abc import Iterable, Mapping

from service.contracts.lineage import EdgeRole, Lineage, LineageEdge, LineageNode
from service.contracts.model import Model
from service.contracts.reference import split_reference


def lineage(models: Iterable[Model], model_id: str) -> Lineage:
    """Up and down from the model; branches beside the way are left out."""
    by_id = {model.id: model for model in models}
    edges = [edge for model in by_id.values() for edge in _into(model)]
    up = _follow(model_id, [(edge.target, edge) for edge in edges])
    down = _follow(model_id, [(edge.source, edge) for edge in edges])
    found = [edge for edge in edges if _key(edge) in up | down]
    ids = dict.fromkeys([model_id, *(end for edge in found for end in (edge.source, edge.target))])
    return Lineage(model=model_id, nodes=[_node(id_, by_id) for id_ in ids], edges=found)


def bases(model: Model) -> set[str]:
    """Ids of the model under an adapter, or of those that a merge's recipe names as base."""
    documents = model.recipe if isinstance(model.recipe, list) else [model.recipe] if model.recipe else []
    named = [document.get("base_model") for document in documents]
    found = {part for reference in named if reference for part in split_reference(reference) if part}
    return found & set(model.sources) | ({model.base} if model.base else set())


def _into(model: Model) -> list[LineageEdge]:
    under = bases(model)
    parts = dict.fromkeys([*model.sources, *sorted(under)])
    roles: dict[str, EdgeRole] = {part: "base" if part in under else "ingredient" for part in parts}
    return [LineageEdge(source=part, target=model.id, role=role) for part, role in roles.items()]


def _follow(start: str, edges: list[tuple[str, LineageEdge]]) -> set[tuple[str, str]]:
    """The edges that are reached from `start`; each is given with the end at which it is entered."""
    entered: dict[str, list[LineageEdge]] = {}
    for end, edge in edges:
        entered.setdefault(end, []).append(edge)
    reached: set[tuple[str, str]] = set()
    waiting, seen = [start], {start}
    while waiting:
        here = waiting.pop()
        for edge in entered.get(here, ()):
            reached.add(_key(edge))
            there = edge.source if edge.target == here else edge.target
            if there not in seen:
                seen.add(there)
                waiting.append(there)
    return reached


def _key(edge: LineageEdge) -> tuple[str, str]:
    return edge.source, edge.target


def _node(model_id: str, models: Mapping[str, Model]) -> LineageNode:
    model = models.get(model_id)
    if model is None:
        return LineageNode(id=model_id, present=False)
    return LineageNode.model_validate(model.model_dump(include=set(LineageNode.model_fields)))
