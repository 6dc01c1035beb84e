"""Whether every source has the tensors that the result needs of it, by name and shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.contracts.methods.spec import MethodSpec
from service.contracts.model import TensorEntry
from service.contracts.problem import FieldProblem, Place, json_pointer
from service.recipes.dtypes import FLOATS
from service.recipes.modules import split_modules
from service.recipes.outline import Slot
from service.recipes.refusal import Refused
from service.recipes.sections import Section, Source
from service.recipes.tensor_names import TensorTable, is_merged, spellings, stored_name

_SHOWN = 5


@dataclass
class _Fit:
    """What is wrong with one source."""

    section: Section
    missing: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = (
            (f"it lacks {_count(self.missing)}", self.missing),
            (f"it has another shape in {_count(self.reshaped)}", self.reshaped),
            (f"it has {_count(self.extra)} too many", self.extra),
        )
        return "; ".join(
            f"{words} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
            for words, names in parts
            if names
        )


def participants(section: Section, spec: MethodSpec) -> tuple[Source, ...]:
    """The ingredients of a section, and its origin."""
    origin = section.origin(spec)
    return section.ingredients(spec) + ((origin,) if origin else ())


def check_match(
    slots: Sequence[Slot], spec: MethodSpec, tables: Mapping[str, TensorTable], donor: str
) -> None:
    """Raises Refused, naming the first few tensors that don't fit, for every source with any."""
    fits: dict[tuple[str, Place], _Fit] = {}
    for slot in slots:
        if slot.section and is_merged(slot.name, slot.template):
            for source in participants(slot.section, spec):
                fit = fits.setdefault((source.model, source.place), _Fit(slot.section))
                _check(slot, source, tables[source.model], fit)
    _find_extra(slots, fits, tables)
    problems = [
        FieldProblem(pointer=_pointer(place), detail=f"{model} does not fit {donor}: {fit}")
        for (model, place), fit in fits.items()
        if str(fit)
    ]
    if problems:
        raise Refused(problems)


def _check(slot: Slot, source: Source, table: TensorTable, fit: _Fit) -> None:
    name = slot.name_in(source)
    stored = stored_name(table, name)
    if stored is None or table[stored].dtype not in FLOATS:
        fit.missing.append(name)
    elif table[stored].shape != slot.template.shape:
        fit.reshaped.append(f"{name}: {_shape(table[stored])} instead of {_shape(slot.template)}")


def _find_extra(
    slots: Sequence[Slot], fits: Mapping[tuple[str, Place], _Fit], tables: Mapping[str, TensorTable]
) -> None:
    """Tensors that whole models, or whole modules, would lose. Slices are meant to leave layers out."""
    names = {slot.name for slot in slots}
    for (model, _), fit in fits.items():
        if fit.section.is_slice:
            continue
        table, module = tables[model], fit.section.module
        fit.extra += [
            name
            for name, entry in (split_modules(table).get(module, {}) if module else table).items()
            if is_merged(name, entry) and names.isdisjoint(spellings(name))
        ]


def _pointer(place: Place) -> str:
    return json_pointer(*place) if place == ("base_model",) else json_pointer(*place, "model")


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _shape(entry: TensorEntry) -> str:
    return "x".join(map(str, entry.shape)) or "scalar"
