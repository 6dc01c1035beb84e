"""The tensors of a result, each with its section, before asking whether the sources fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from service.contracts.model import TensorEntry
from service.recipes.modules import split_modules, within_module
from service.recipes.refusal import refuse
from service.recipes.sections import Section, Source
from service.recipes.tensor_names import (
    TensorTable,
    gradient_position,
    is_embedding,
    layer_name,
    split_layer,
    stacks,
)


@dataclass(frozen=True)
class Slot:
    """A tensor of the result."""

    name: str
    section: Section | None
    """None: the tensor is copied from the template."""
    template: TensorEntry
    """Has the shape that every source must have here."""
    template_model: str
    template_name: str
    t: float
    """The place on gradients."""
    layer: tuple[str, int, str] | None = None
    """Only in slices: stack, number of the layer counted within the slice, rest of the name."""

    def name_in(self, source: Source) -> str:
        if self.layer is None or source.layers is None:
            return self.name
        stack, number, rest = self.layer
        return layer_name(stack, source.layers[number], rest)


def outline(parts: Sequence[Section], tables: Mapping[str, TensorTable], donor: str) -> list[Slot]:
    """Every tensor of the result, in order. Raises Refused where slices don't fit the models' layers."""
    return list(_with_modules(parts, tables, donor) if parts[0].module else _whole(parts, tables, donor))


def _with_modules(parts: Sequence[Section], tables: Mapping[str, TensorTable], donor: str) -> Iterator[Slot]:
    """One module after another; those that the recipe leaves out are copied."""
    by_name = {str(name): list(group) for name, group in groupby(parts, lambda part: part.module)}
    for name, group in by_name.items():
        yield from _whole(group, within_module(tables, name, donor, ("modules", name)), donor)
    for name, table in split_modules(tables[donor]).items():
        if name not in by_name:
            for tensor, entry in table.items():
                yield Slot(tensor, None, entry, donor, tensor, 0.0)


def _whole(parts: Sequence[Section], tables: Mapping[str, TensorTable], donor: str) -> Iterator[Slot]:
    if parts[0].sources[0].layers is None:
        return _whole_models(parts[0], tables[donor], donor)
    return _slices(parts, tables, donor)


def _whole_models(section: Section, table: TensorTable, donor: str) -> Iterator[Slot]:
    heights = stacks(table)
    for name, entry in table.items():
        split = split_layer(name)
        t = gradient_position(split[1], heights[split[0]]) if split else 0.0
        yield Slot(name, section, entry, donor, name, t)


def _slices(parts: Sequence[Section], tables: Mapping[str, TensorTable], donor: str) -> Iterator[Slot]:
    outside = [name for name in tables[donor] if split_layer(name) is None]
    # As in mergekit: what comes before the layers goes with the first slice, what comes after with the last.
    for name in filter(is_embedding, outside):
        yield Slot(name, parts[0], tables[donor][name], donor, name, 0.0)
    done = 0
    for section in parts:
        yield from _slice(section, tables, done)
        done += len(section.sources[0].layers or ())
    for name in outside:
        if not is_embedding(name):
            yield Slot(name, parts[-1], tables[donor][name], donor, name, 0.0)


def _slice(section: Section, tables: Mapping[str, TensorTable], first: int) -> Iterator[Slot]:
    """The layers of one slice; they become layers `first`, `first` + 1, … of the result."""
    template = section.sources[0]
    table, layers = tables[template.model], _layers(section, tables)
    (stack,) = stacks(table)
    by_layer: dict[int, list[str]] = {}
    for name in table:
        if split := split_layer(name):
            by_layer.setdefault(split[1], []).append(split[2])
    for number, index in enumerate(layers):
        t = gradient_position(number, len(layers))
        for rest in by_layer.get(index, ()):
            source, name = layer_name(stack, index, rest), layer_name(stack, first + number, rest)
            layer = (stack, number, rest)
            yield Slot(name, section, table[source], template.model, source, t, layer)


def _layers(section: Section, tables: Mapping[str, TensorTable]) -> range:
    """The first source's layers; every source must have as many. Raises Refused."""
    wanted = section.sources[0].layers or range(0)
    for source in section.sources:
        heights, layers = stacks(tables[source.model]), source.layers or range(0)
        if len(heights) != 1:
            detail = (
                f"slices need a model with one stack of layers; {source.model} has {len(heights)}: "
                "give them for each of its `modules`"
            )
            raise refuse(*source.place, "model", detail=detail)
        (height,) = heights.values()
        if layers.stop > height:
            detail = f"{source.model} has {height} layers, 0 to {height - 1}"
            raise refuse(*source.place, "layer_range", detail=detail)
        if len(layers) != len(wanted):
            detail = f"{len(layers)} layers here, {len(wanted)} in the slice's first source"
            raise refuse(*source.place, "layer_range", detail=detail)
    return wanted
