"""Recipe and manifests to a plan: every tensor of the result, where it comes from, or a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodParameters, MethodSpec
from service.contracts.model import TensorEntry
from service.contracts.recipe import Recipe
from service.recipes.dtypes import FLOATS, HEADER_DTYPE, ITEM_BYTES
from service.recipes.outline import Slot, outline
from service.recipes.parameters import tensor_parameters
from service.recipes.refusal import refuse
from service.recipes.sections import Place, Source, sections
from service.recipes.tensor_match import check_match
from service.recipes.tensor_names import TensorTable, is_merged, split_layer, stored_name

__all__ = ["FLOATS", "ITEM_BYTES", "LayerRef", "Plan", "TensorRef", "TensorTask", "make_plan"]


@dataclass(frozen=True)
class TensorRef:
    """A tensor of one of the models."""

    model: str
    name: str


@dataclass(frozen=True)
class LayerRef:
    """A layer of one of the models."""

    model: str
    index: int


@dataclass(frozen=True)
class TensorTask:
    """How one tensor of the result is made. `parameters` has the method's, `model_parameters` one each."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """Of the result, as in safetensors headers."""
    sources: tuple[TensorRef, ...]
    """The ingredients, in the method's order."""
    origin: TensorRef | None = None
    """What task vectors start from, if the method has them."""
    parameters: MethodParameters | None = None
    model_parameters: tuple[MethodParameters, ...] = ()

    @property
    def copied(self) -> bool:
        """Not a float tensor: taken from its only source as it is."""
        return self.parameters is None

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Plan:
    """What a merge will do."""

    method: str
    sources: tuple[str, ...]
    """Every model that is merged, in the recipe's order, without an origin."""
    origin: str | None
    """The model that task vectors start from, if the method has one."""
    donor: str
    """Gives config, tokenizer, and tensors that are copied."""
    layers: Mapping[str, tuple[LayerRef, ...]]
    """For every stack of layers that slices made, where its layers come from: whose config describes them."""
    load_dtype: str | None
    tasks: tuple[TensorTask, ...]
    seed: int

    @property
    def models(self) -> set[str]:
        """Every model that tensors are read from."""
        read = {source.model for task in self.tasks for source in task.sources}
        return read | {task.origin.model for task in self.tasks if task.origin}

    @property
    def configs(self) -> set[str]:
        """Every model whose config.json says something of the result's."""
        return {self.donor} | {ref.model for layers in self.layers.values() for ref in layers}

    @property
    def bytes_written(self) -> int:
        return sum(task.nbytes for task in self.tasks)

    @property
    def tensors(self) -> dict[str, TensorEntry]:
        return {task.name: TensorEntry(shape=list(task.shape), dtype=task.dtype) for task in self.tasks}


def make_plan(recipe: Recipe, tables: Mapping[str, TensorTable], seed: int = 0) -> Plan:
    """Plan a checked recipe over the tensor tables of all its references. Raises Refused."""
    spec = METHODS[recipe.merge_method]
    parts = sections(recipe)
    donor = recipe.base_model or parts[0].sources[0].model
    place: Place = ("base_model",) if recipe.base_model else (*parts[0].sources[0].place, "model")
    _check_dtypes(tables[donor], donor, place)
    slots = outline(parts, tables, donor)
    check_match(slots, spec, tables, donor)
    origins = {origin.model for part in parts if (origin := part.origin(spec))}
    return Plan(
        method=spec.name,
        sources=tuple(dict.fromkeys(source.model for part in parts for source in part.ingredients(spec))),
        origin=origins.pop() if len(origins) == 1 else None,
        donor=donor,
        layers=_layers(slots),
        load_dtype=HEADER_DTYPE[recipe.dtype] if recipe.dtype else None,
        tasks=tuple(_task(slot, recipe, spec, tables) for slot in slots),
        seed=seed,
    )


def _task(slot: Slot, recipe: Recipe, spec: MethodSpec, tables: Mapping[str, TensorTable]) -> TensorTask:
    shape = tuple(slot.template.shape)
    if not is_merged(slot.name, slot.template):
        kept = TensorRef(slot.template_model, slot.template_name)
        return TensorTask(name=slot.name, shape=shape, dtype=slot.template.dtype, sources=(kept,))
    named = [(source, slot.name_in(source)) for source in slot.section.ingredients(spec)]
    origin = slot.section.origin(spec)
    shared, own = tensor_parameters(spec, slot.section, slot.name, named, slot.t)
    wanted = recipe.out_dtype or recipe.dtype
    return TensorTask(
        name=slot.name,
        shape=shape,
        dtype=HEADER_DTYPE[wanted] if wanted else slot.template.dtype,
        sources=tuple(_ref(source, name, tables) for source, name in named),
        origin=_ref(origin, slot.name_in(origin), tables) if origin else None,
        parameters=shared,
        model_parameters=own,
    )


def _ref(source: Source, name: str, tables: Mapping[str, TensorTable]) -> TensorRef:
    return TensorRef(source.model, stored_name(tables[source.model], name) or name)


def _layers(slots: Sequence[Slot]) -> dict[str, tuple[LayerRef, ...]]:
    found: dict[str, dict[int, LayerRef]] = {}
    for slot in slots:
        old, new = split_layer(slot.template_name), split_layer(slot.name)
        if slot.layer and old and new:
            found.setdefault(new[0], {})[new[1]] = LayerRef(slot.template_model, old[1])
    return {stack: tuple(layers[index] for index in sorted(layers)) for stack, layers in found.items()}


def _check_dtypes(table: TensorTable, donor: str, place: Place) -> None:
    """Raises Refused for a model that is empty or whose weights are quantised."""
    if not table:
        raise refuse(*place, detail="the model has no tensors")
    for name, entry in table.items():
        integer_weight = entry.dtype not in FLOATS and name.endswith("weight")
        if entry.dtype not in ITEM_BYTES or entry.dtype == "F64" or integer_weight:
            detail = (
                f"{donor}: {name} has dtype {entry.dtype}; weights to merge are float32, float16 or bfloat16"
            )
            raise refuse(*place, detail=detail)
