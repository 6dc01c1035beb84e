"""Which models somebody means who says what they are like."""

from dataclasses import dataclass

from service.contracts.model import Model, ModelKind, ModelState
from service.models.lineage import bases


@dataclass(frozen=True)
class Wanted:
    """What a model must be like; None is anything."""

    kind: ModelKind | None = None
    language: str | None = None
    objective: str | None = None
    tag: str | None = None
    method: str | None = None
    base: str | None = None
    """An id: of the model under an adapter, or of the base model of a merge."""
    state: ModelState | None = None
    text: str | None = None
    """In an alias, the notes or a label, in any case."""

    def matches(self, model: Model) -> bool:
        return (
            self.kind in (None, model.kind)
            and (self.language is None or self.language in model.languages)
            and self.objective in (None, model.objective)
            and (self.tag is None or self.tag in model.tags)
            and self.method in (None, model.method)
            and (self.base is None or self.base in bases(model))
            and self.state in (None, model.state)
            and (self.text is None or self.text.casefold() in _words(model).casefold())
        )


def _words(model: Model) -> str:
    labels = [*model.aliases, *model.tags, *model.languages, model.objective, model.license, model.notes]
    return "\n".join(label for label in labels if label)
