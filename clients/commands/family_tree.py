"""A lineage as lines of text, indented by generation."""

from collections.abc import Iterator

from service.contracts.lineage import Lineage, LineageNode


def family_tree(graph: Lineage, up: bool) -> Iterator[str]:
    """What the model was made of (up), or what was made from it; a model is shown wherever it went in."""
    nodes = {node.id: node for node in graph.nodes}
    yield from _below(graph, nodes, graph.model, up, "")


def _below(graph: Lineage, nodes: dict[str, LineageNode], here: str, up: bool, indent: str) -> Iterator[str]:
    for edge in graph.edges:
        near, far = (edge.target, edge.source) if up else (edge.source, edge.target)
        if near == here:
            yield f"{indent}{_describe(nodes[far])} ({edge.role})"
            yield from _below(graph, nodes, far, up, indent + "  ")


def _describe(node: LineageNode) -> str:
    if not node.present:
        return f"{node.id}, deleted"
    made = f"{node.method} merge" if node.method else str(node.kind)
    return f"{node.name or node.id}, {'virtual ' if node.virtual else ''}{made}"
