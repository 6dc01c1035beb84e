"""What a merged model inherits: the languages of its sources, and what they all agree on."""

from typing import Any, TypedDict

from service.contracts.model import Manifest


class Labels(TypedDict):
    languages: list[str]
    objective: str | None
    license: str | None


def merged_labels(sources: list[Manifest]) -> Labels:
    """Languages: the union, in order. Objective and licence: the sources' own if they all share one."""
    objectives = {source.objective for source in sources}
    licenses = {source.license for source in sources}
    return Labels(
        languages=list(dict.fromkeys(tag for source in sources for tag in source.languages)),
        objective=objectives.pop() if len(objectives) == 1 else None,
        license=licenses.pop() if len(licenses) == 1 else None,
    )


def merge_method(recipe: Any) -> str | None:
    """The last that a recipe, or a list of them, applies."""
    document = recipe[-1] if isinstance(recipe, list) else recipe
    return document["merge_method"] if document else None
