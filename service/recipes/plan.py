"""Recipe and manifests to a plan: every tensor of the result with its parameters, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from pydantic import ValidationError

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodParameters, MethodSpec
from service.contracts.model import TensorEntry
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Parameters, Recipe
from service.recipes.parameters import Depth, layer_index, lookup
from service.recipes.parse import ingredients
from service.recipes.refusal import Refused, refuse

ITEM_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = {"F32", "BF16", "F16"}
_HEADER_DTYPE = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_SHOWN = 5

TensorTable = Mapping[str, TensorEntry]


@dataclass(frozen=True)
class TensorTask:
    """How one tensor of the result is made. `parameters` has the method's, `model_parameters` one per source."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """Of the result, as in safetensors headers."""
    parameters: MethodParameters | None
    model_parameters: tuple[MethodParameters, ...] = ()
    copied: bool = False
    """Not a float tensor: taken from the donor as it is."""

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Plan:
    """What a merge will do. `sources` are the ingredients in the method's order, without an origin base."""

    method: str
    sources: tuple[str, ...]
    origin: str | None
    """The model that task vectors start from, if the method has one."""
    donor: str
    """Gives config, tokenizer, and tensors that are copied."""
    load_dtype: str | None
    tasks: tuple[TensorTask, ...]
    seed: int

    @property
    def bytes_written(self) -> int:
        return sum(task.nbytes for task in self.tasks)

    @property
    def tensors(self) -> dict[str, TensorEntry]:
        return {task.name: TensorEntry(shape=list(task.shape), dtype=task.dtype) for task in self.tasks}


def make_plan(recipe: Recipe, tables: Mapping[str, TensorTable], seed: int = 0) -> Plan:
    """Plan a checked recipe over the tensor tables of all its references. Raises Refused."""
    spec = METHODS[recipe.merge_method]
    sources = tuple(ingredients(recipe, spec))
    donor = recipe.base_model or sources[0]
    _same_tensors(recipe, tables, donor)
    evaluator = _Evaluator(recipe, spec, sources, Depth(_layers(tables[donor])))
    tasks = tuple(
        _task(name, entry, recipe, evaluator) for name, entry in tables[donor].items()
    )
    return Plan(
        method=spec.name,
        sources=sources,
        origin=recipe.base_model if spec.base == "origin" else None,
        donor=donor,
        load_dtype=_HEADER_DTYPE[recipe.dtype] if recipe.dtype else None,
        tasks=tasks,
        seed=seed,
    )


def _task(name: str, entry: TensorEntry, recipe: Recipe, evaluator: "_Evaluator") -> TensorTask:
    shape = tuple(entry.shape)
    if entry.dtype not in FLOATS:
        return TensorTask(name=name, shape=shape, dtype=entry.dtype, parameters=None, copied=True)
    wanted = recipe.out_dtype or recipe.dtype
    shared, own = evaluator.parameters(name)
    return TensorTask(
        name=name,
        shape=shape,
        dtype=_HEADER_DTYPE[wanted] if wanted else entry.dtype,
        parameters=shared,
        model_parameters=own,
    )


class _Evaluator:
    """The method's parameters for one tensor after another."""

    def __init__(self, recipe: Recipe, spec: MethodSpec, sources: tuple[str, ...], depth: Depth) -> None:
        self._recipe, self._spec, self._depth = recipe, spec, depth
        self._levels: list[tuple[Parameters, ...]] = []
        self._places: list[tuple[str | int, ...]] = []
        for source in sources:
            index = next((i for i, item in enumerate(recipe.models) if item.model == source), None)
            own: tuple[Parameters, ...] = () if index is None else (recipe.models[index].parameters,)
            self._levels.append((*own, recipe.parameters))
            self._places.append(("models", index, "parameters") if index is not None else ("parameters",))

    def parameters(self, tensor: str) -> tuple[MethodParameters, tuple[MethodParameters, ...]]:
        shared = self._build(self._spec.parameters, tensor, ("parameters",), self._recipe.parameters)
        own = tuple(
            self._build(self._spec.model_parameters, tensor, place, *levels)
            for place, levels in zip(self._places, self._levels, strict=True)
        )
        return shared, own

    def _build(
        self, schema: type[MethodParameters], tensor: str, place: tuple[str | int, ...], *levels: Parameters
    ) -> MethodParameters:
        names = [field.alias or name for name, field in schema.model_fields.items()]
        found = {name: lookup(name, tensor, self._depth.of(tensor), *levels) for name in names}
        try:
            return schema.model_validate({name: value for name, value in found.items() if value is not None})
        except ValidationError as error:
            raise Refused([_parameter_problem(item, place, tensor) for item in error.errors()]) from None


def _parameter_problem(error: Any, place: tuple[str | int, ...], tensor: str) -> FieldProblem:
    name = str(error["loc"][0])
    if error["type"] == "missing":
        detail = f"'{name}' is required and has no value for {tensor}"
    else:
        detail = f"{error['msg']} (for {tensor}: {error['input']:g})"
    return FieldProblem(pointer=json_pointer(*place, name), detail=detail)


def _same_tensors(recipe: Recipe, tables: Mapping[str, TensorTable], donor: str) -> None:
    """Every source must have the donor's tensors, by name and shape. Raises Refused naming the first few."""
    wanted = tables[donor]
    if not wanted:
        raise refuse("base_model", detail="the model has no tensors")
    for index, item in enumerate(recipe.models):
        problem = _difference(wanted, tables[item.model])
        if problem:
            raise refuse("models", index, "model", detail=f"{item.model} does not fit {donor}: {problem}")


def _difference(wanted: TensorTable, found: TensorTable) -> str | None:
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    if missing or extra:
        return "; ".join(
            f"{word} {len(names)} tensors ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
            for word, names in (("it lacks", missing), ("it has beside them", extra))
            if names
        )
    for name, entry in wanted.items():
        if found[name].shape != entry.shape:
            return f"{name} has shape {found[name].shape}, expected {entry.shape}"
    return None


def _layers(table: TensorTable) -> int:
    return 1 + max((index for name in table if (index := layer_index(name)) is not None), default=0)
