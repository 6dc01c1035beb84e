"""Recipes of several documents, as mergekit-multi takes them: who is made from whom, and in which order."""

from collections.abc import Iterator, Mapping, Sequence

from service.contracts.problem import Place
from service.contracts.recipe import Recipe, RecipeDocument
from service.contracts.reference import split_reference
from service.recipes.finding import Finding

Indices = Mapping[str | None, int]
"""Of the named documents."""


def check_names(documents: Sequence[RecipeDocument], result: int) -> list[Finding]:
    """All but the result's have a name of their own, are made from others than themselves, and are needed."""
    findings = []
    indices: dict[str | None, int] = {}
    for index, document in enumerate(documents):
        if index == result:
            continue
        if document.name is None:
            detail = "every recipe but one, which is the result's, needs a name"
            findings.append(Finding((index, "name"), detail))
        elif document.name in indices:
            detail = f"'{document.name}' is the name of recipe {indices[document.name]} already"
            findings.append(Finding((index, "name"), detail))
        indices.setdefault(document.name, index)
    return findings or _circles(documents, indices) or _unused(documents, indices)


def in_order(recipe: Recipe) -> list[tuple[int, RecipeDocument]]:
    """Every document with its index, each after those that it is made from; the result's is the last."""
    documents = recipe.documents
    indices = {document.name: index for index, document in enumerate(recipe.intermediates)}
    ordered: dict[int, RecipeDocument] = {}

    def add(index: int) -> None:
        if index not in ordered:
            for _, name in _uses(documents[index], indices):
                add(indices[name])
            ordered[index] = documents[index]

    add(len(documents) - 1)
    return list(ordered.items())


def _uses(document: RecipeDocument, indices: Indices) -> Iterator[tuple[Place, str]]:
    """The places where a document refers to others, and their names."""
    for place, reference in document.mentions():
        model, _ = split_reference(reference)
        if model in indices:
            yield place, model


def _circles(documents: Sequence[RecipeDocument], indices: Indices) -> list[Finding]:
    """The first document found that is made from itself."""
    sound: set[int] = set()

    def follow(index: int, path: tuple[str, ...]) -> Finding | None:
        if index in sound:
            return None
        for place, name in _uses(documents[index], indices):
            if name in path:
                circle = " from ".join([*path[path.index(name) :], name])
                return Finding((index, *place), f"'{name}' would be made from itself: {circle}")
            if found := follow(indices[name], (*path, name)):
                return found
        sound.add(index)
        return None

    for name, index in indices.items():
        if found := follow(index, (str(name),)):
            return [found]
    return []


def _unused(documents: Sequence[RecipeDocument], indices: Indices) -> list[Finding]:
    used = {name for document in documents for _, name in _uses(document, indices)}
    return [
        Finding((index, "name"), f"no other recipe refers to '{name}'")
        for name, index in indices.items()
        if name not in used
    ]
