"""A recipe as sections: whole `models` are one, and every entry of `slices` is one; so in each module."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.contracts.methods.spec import MethodSpec
from service.contracts.problem import Place
from service.contracts.recipe import Module, Parameters, RecipeDocument, Slice


@dataclass(frozen=True)
class Source:
    """A model, or some of its layers, that goes into a section."""

    model: str
    layers: range | None
    """None: all of them, and every other tensor."""
    parameters: Parameters
    place: Place


@dataclass(frozen=True)
class Section:
    """Tensors of the result that are merged from the same sources."""

    sources: tuple[Source, ...]
    """As the recipe lists them."""
    base: str | None
    parameters: tuple[Parameters, ...]
    """What holds for all sources, the nearest level first."""
    place: Place
    """Of the list of sources."""
    module: str | None = None
    """The only one that it is about; None: the whole model."""

    def ingredients(self, spec: MethodSpec) -> tuple[Source, ...]:
        """What the method merges, in its order: an endpoint base first, an origin left out."""
        others = tuple(source for source in self.sources if source.model != self.base)
        if spec.base in ("origin", "optional_origin"):
            return others
        if spec.base == "endpoint":
            base = self._base_source()
            return (base, *others) if base else others
        if spec.base == "participant" and len(others) == len(self.sources) and self._base_takes_part(spec):
            return (*self.sources, self._unlisted_base())
        return self.sources

    def origin(self, spec: MethodSpec) -> Source | None:
        """What task vectors are measured from; None too where a slice lacks the layers of its base."""
        return self._base_source() if spec.base in ("origin", "optional_origin") else None

    def has_base(self, spec: MethodSpec) -> bool:
        """Whether the base is there wherever the method needs its tensors; in slices it must be listed."""
        return spec.base == "participant" or self._base_source() is not None

    def _base_source(self) -> Source | None:
        listed = next((source for source in self.sources if source.model == self.base), None)
        if listed or self.base is None or self.is_slice:
            return listed
        return self._unlisted_base()

    def _unlisted_base(self) -> Source:
        assert self.base is not None
        return Source(model=self.base, layers=None, parameters={}, place=("base_model",))

    def _base_takes_part(self, spec: MethodSpec) -> bool:
        """As in mergekit, if parameters for all models cover it."""
        required = [name for name, field in spec.model_parameters.model_fields.items() if field.is_required()]
        known = {name for level in self.parameters for name in level}
        return self.base is not None and not self.is_slice and known.issuperset(required)

    @property
    def is_slice(self) -> bool:
        return self.sources[0].layers is not None


def sections(recipe: RecipeDocument) -> tuple[Section, ...]:
    if not recipe.modules:
        return tuple(_sections(recipe, recipe, (), None))
    return tuple(
        section
        for name, module in recipe.modules.items()
        for section in _sections(recipe, module, ("modules", name), name)
    )


def _sections(
    recipe: RecipeDocument, part: RecipeDocument | Module, place: Place, module: str | None
) -> Iterator[Section]:
    """Of the recipe itself, or of one of its modules."""
    levels = (recipe.parameters,) if part is recipe else (part.parameters, recipe.parameters)
    for index, item in enumerate(part.slices or ()):
        yield _slice(recipe, item, (*place, "slices", index, "sources"), levels, module)
    if part.models:
        sources = tuple(
            Source(model=item.model, layers=None, parameters=item.parameters, place=(*place, "models", index))
            for index, item in enumerate(part.models)
        )
        yield Section(sources, recipe.base_model, levels, (*place, "models"), module)


def _slice(
    recipe: RecipeDocument, item: Slice, place: Place, levels: tuple[Parameters, ...], module: str | None
) -> Section:
    sources = tuple(
        Source(
            model=source.model,
            layers=range(*source.layer_range),
            parameters=source.parameters,
            place=(*place, number),
        )
        for number, source in enumerate(item.sources)
    )
    return Section(sources, item.base_model or recipe.base_model, (item.parameters, *levels), place, module)
