"""A merge recipe: mergekit's configuration, taken verbatim and strictly."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from service.contracts.problem import FieldProblem, Place
from service.contracts.reference import Reference, split_reference
from service.contracts.setting import Setting, none_is_empty
from service.contracts.tokenizer import Tokenizer

MAX_MODELS = 64
MAX_SLICES = 1024
MAX_DOCUMENTS = 64
MAX_MODULES = 16


def _parse_dtype(raw: object) -> object:
    return raw.removeprefix("torch.") if isinstance(raw, str) else raw


Parameters = Annotated[dict[str, Setting], BeforeValidator(none_is_empty)]
DType = Annotated[str, BeforeValidator(_parse_dtype), Field(pattern="^(float32|float16|bfloat16)$")]


class RecipeModel(BaseModel):
    """One ingredient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Reference
    parameters: Parameters = {}


class SliceSource(BaseModel):
    """Layers [start, end) of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Reference
    layer_range: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]
    parameters: Parameters = {}


class Slice(BaseModel):
    """Consecutive layers of the result, merged from as many layers of each source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[SliceSource, ...] = Field(min_length=1, max_length=MAX_MODELS)
    base_model: Reference | None = None
    """Instead of the recipe's, for these layers."""
    residual_weight: float | None = Field(default=None, exclude=True)
    """Accepted for mergekit's sake; nothing reads it, neither here nor there."""
    parameters: Parameters = {}


class Module(BaseModel):
    """One module of the result: merged from that of whole `models`, or from `slices` of its layers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[RecipeModel, ...] | None = Field(default=None, min_length=1, max_length=MAX_MODELS)
    slices: tuple[Slice, ...] | None = Field(default=None, min_length=1, max_length=MAX_SLICES)
    parameters: Parameters = {}


class RecipeDocument(BaseModel):
    """What to merge, and how, by registered id or alias.

    Whole `models`, `slices` of their layers, or one of both for each module of a checkpoint with several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^+]*$")] | None = None
    """Only in a list of recipes, of all but the result's: what the others call its result."""
    merge_method: str
    models: tuple[RecipeModel, ...] | None = Field(default=None, min_length=1, max_length=MAX_MODELS)
    slices: tuple[Slice, ...] | None = Field(default=None, min_length=1, max_length=MAX_SLICES)
    modules: dict[str, Module] | None = Field(default=None, min_length=1, max_length=MAX_MODULES)
    """By name; those that are not here are copied from the base."""
    base_model: Reference | None = None
    parameters: Parameters = {}
    dtype: DType | None = None
    """Sources are rounded to it on load; arithmetic is float32 always."""
    out_dtype: DType | None = None
    """The result's dtype; `dtype` when absent, else the base's own."""
    tokenizer: Tokenizer | None = None
    tokenizer_source: Reference | None = None
    """Short for a `tokenizer` with this source."""
    chat_template: Annotated[str, Field(min_length=1, max_length=65536)] | None = None
    """`auto` (what most models have), the name of a template, or Jinja text; else the tokenizer's own."""
    strict: StrictBool = Field(default=True, exclude=True)
    """False: unknown keys are passed over with a warning."""

    @property
    def vocabulary(self) -> Tokenizer | None:
        """What is said of it in either way."""
        return Tokenizer(source=self.tokenizer_source) if self.tokenizer_source else self.tokenizer

    def canonical(self) -> dict[str, Any]:
        """As plain data, defaults left out. Everything has the place that it has in the text."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def mentions(self) -> Iterator[tuple[Place, str]]:
        """Every reference to a model and its place, the recipe's base last."""
        return _mentions(self.canonical(), ())


class Recipe(RecipeDocument):
    """The recipe of the result, and those of the models that it is made from on the way."""

    intermediates: tuple[RecipeDocument, ...] = Field(default=(), exclude=True)
    """The named ones, as written."""
    position: int = Field(default=0, exclude=True)
    """Of the result's own recipe among all that were sent."""
    warnings: tuple[FieldProblem, ...] = Field(default=(), exclude=True)
    """What was passed over."""

    @property
    def documents(self) -> tuple[RecipeDocument, ...]:
        """The named ones as written, and then the result's own."""
        return (*self.intermediates, self)

    def place(self, index: int) -> Place:
        """Where one of `documents` is in all that was sent: nowhere in particular if it is the only one."""
        if not self.intermediates:
            return ()
        if index == len(self.intermediates):
            return (self.position,)
        return (index if index < self.position else index + 1,)

    def all_mentions(self) -> Iterator[tuple[Place, str]]:
        """Those of all documents."""
        for index, document in enumerate(self.documents):
            for place, reference in document.mentions():
                yield (*self.place(index), *place), reference

    def outside(self, reference: str) -> list[str]:
        """The parts of a reference, model and adapter, that must be there already."""
        model, adapter = split_reference(reference)
        named = any(model == document.name for document in self.intermediates)
        return ([] if named else [model]) + ([adapter] if adapter else [])

    def references(self) -> list[str]:
        """Every model and adapter that must be there already, in order, none twice."""
        parts = (part for _, reference in self.all_mentions() for part in self.outside(reference))
        return list(dict.fromkeys(parts))


def _mentions(node: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if is_reference(place, node):
        yield place, node
    items = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for key, value in items:
        yield from _mentions(value, (*place, key))


def is_reference(place: Place, value: object) -> bool:
    """Whether what stands at this place of a recipe's plain data names a model."""
    if not place or not isinstance(value, str):
        return False
    if place[:2] == ("tokenizer", "tokens") and place[-1] == "source":
        return True
    if place in (("tokenizer", "source"), ("tokenizer_source",)):
        return value not in ("union", "base")
    return place[-1] in ("model", "base_model")
