"""README.md of a merged model: what it was made of, how, and how to make it again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from service.contracts.methods import METHODS


@dataclass(frozen=True)
class Ingredient:
    """A model that a merge was made of."""

    name: str
    """What people call it: a name on the hub, a folder's name, an id."""
    id: str
    digest: str
    """The content digest: sha256 over the names and sha256s of its files."""
    license: str | None = None
    origin: str = ""
    """How it was made of its `parents`, such as "adapter on"."""
    parents: tuple["Ingredient", ...] = ()


@dataclass(frozen=True)
class Card:
    """What the card tells."""

    method: str
    recipe: str
    """YAML."""
    seed: int
    ingredients: Sequence[Ingredient]
    versions: Mapping[str, str]
    device: str
    remarks: Mapping[str, str]
    """Of the method, by tensor."""

    def text(self) -> str:
        return _PAGE.format(
            front_matter=yaml.safe_dump(_front_matter(self.ingredients), sort_keys=False),
            count=_count(self.ingredients),
            method=self.method,
            summary=METHODS[self.method].summary,
            recipe=self.recipe.strip(),
            table="\n".join(map(_row, self.ingredients)),
            lineage="\n".join(_lineage(self.ingredients, "")),
            licenses=_licenses(self.ingredients),
            seed=self.seed,
            versions=", ".join(f"{name} {number}" for name, number in self.versions.items()),
            device=self.device,
            remarks=_remarks(self.remarks),
        )


_PAGE = """---
{front_matter}---

# Merge of {count} by {method}

{summary}

## Recipe

```yaml
{recipe}
```

## Ingredients

| model | id | digest | licence |
|---|---|---|---|
{table}

A digest is the sha256 over the names and sha256s of a model's files, an id its short form.

### Lineage

{lineage}

### Licences

{licenses}

## Making it again

```sh
polymerge merge mergekit_config.yml merged --seed {seed}
```

Made with {versions} on {device}.
The same recipe, ingredients and seed give the same tensors, bit by bit, on the same kind of device.
{remarks}"""


def _front_matter(ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    licenses = {item.license for item in ingredients}
    matter: dict[str, Any] = {
        "base_model": [item.name for item in ingredients],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "polymerge"],
    }
    shared = licenses.pop() if len(licenses) == 1 else None
    return matter | ({"license": shared} if shared else {})


def _count(ingredients: Sequence[Ingredient]) -> str:
    return "a model" if len(ingredients) == 1 else f"{len(ingredients)} models"


def _row(item: Ingredient) -> str:
    return f"| {item.name} | {item.id} | {item.digest} | {item.license or 'not stated'} |"


def _lineage(ingredients: Sequence[Ingredient], indent: str) -> Iterator[str]:
    for item in ingredients:
        yield f"{indent}- {item.name}" + (f": {item.origin}" if item.parents else "")
        yield from _lineage(item.parents, indent + "  ")


def _licenses(ingredients: Sequence[Ingredient]) -> str:
    stated = {item.license for item in ingredients}
    if len(stated) == 1 and None not in stated:
        return f"All ingredients are under {stated.pop()}."
    return (
        "The ingredients' licences differ or are not all stated: whoever passes the merge on answers to each."
    )


def _remarks(remarks: Mapping[str, str]) -> str:
    lines = [f"- `{name}`: {text}" for name, text in remarks.items()]
    return "\n".join(["", "## What the method remarked", "", *lines, ""]) if lines else ""
