"""Recipe and manifests to a plan: every tensor of the result, where it comes from, or a refusal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodParameters, MethodSpec
from service.contracts.model import TensorEntry
from service.contracts.problem import Place
from service.contracts.recipe import Recipe, RecipeDocument
from service.contracts.reference import split_reference
from service.recipes.dtypes import FLOATS, HEADER_DTYPE, ITEM_BYTES
from service.recipes.intermediates import in_order
from service.recipes.outline import Slot, outline
from service.recipes.parameters import tensor_parameters
from service.recipes.refusal import refuse, within
from service.recipes.sections import Source, sections
from service.recipes.tensor_match import check_match
from service.recipes.tensor_names import TensorTable, is_merged, split_layer, stored_name
from service.recipes.vocabulary.in_recipe import lenders, vocabulary_of
from service.recipes.vocabulary.result import ReadTokens, Vocabulary
from service.sources.adapter import Adapter, Factors
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import TokenSource, no_tokens

__all__ = ["FLOATS", "ITEM_BYTES", "LayerRef", "Plan", "TensorRef", "TensorTask", "make_plan", "tokens_of"]


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
    lenders: tuple[TensorRef, ...] = ()
    """Of an embedding or output head, if the vocabulary changes: this tensor in all models that lend rows."""

    @property
    def copied(self) -> bool:
        """Not a float tensor: taken from its only source as it is."""
        return self.parameters is None

    @property
    def read(self) -> tuple[TensorRef, ...]:
        """All that it is made from."""
        origin = (self.origin,) if self.origin else ()
        return tuple(dict.fromkeys((*self.sources, *origin, *self.lenders)))

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Plan:
    """What a merge will do.

    Models are referred to as in the recipe: a stored model by its id, one with an adapter over it as
    id+adapter, an intermediate by its name.
    """

    method: str
    sources: tuple[str, ...]
    """Every stored model and adapter that is merged, in the recipe's order, without origins."""
    origin: str | None
    """The model that task vectors start from, if the method has one."""
    donor: str
    """Has the result's layout, and gives config, tokenizer, and tensors that are copied."""
    layers: Mapping[str, tuple[LayerRef, ...]]
    """For every stack of layers that slices made, where its layers come from: whose config describes them."""
    load_dtype: str | None
    tasks: tuple[TensorTask, ...]
    seed: int
    reads: Mapping[str, int]
    """For every tensor of the result the bytes of stored ones that it takes."""
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    """By reference: those put over a model here."""
    intermediates: Mapping[str, "Plan"] = field(default_factory=dict)
    """By name: those that this plan refers to."""
    vocabulary: Vocabulary | None = None
    """The result's, if the recipe has a say in it; else it is the donor's."""
    chat_template: str | None = None
    """As the recipe has it."""

    @property
    def models(self) -> set[str]:
        """Every stored model that tensors are read from."""
        return self._behind({ref.model for task in self.tasks for ref in task.read}, lambda plan: plan.models)

    @property
    def stored_donor(self) -> str:
        """The stored model whose files the result's are made from."""
        model, _ = split_reference(self.donor)
        inner = self.intermediates.get(model)
        return inner.stored_donor if inner else model

    @property
    def bytes_read(self) -> int:
        return sum(self.reads.values())

    @property
    def described_by(self) -> set[str]:
        """Every model whose config.json says something of the result's."""
        tokenizer = {self.vocabulary.donor} if self.vocabulary else set()
        return {self.donor} | tokenizer | {ref.model for layers in self.layers.values() for ref in layers}

    @property
    def configs(self) -> set[str]:
        """The stored models among those, or behind them."""
        return self._behind(self.described_by, lambda plan: plan.configs)

    @property
    def bytes_written(self) -> int:
        return sum(task.nbytes for task in self.tasks)

    @cached_property
    def tensors(self) -> dict[str, TensorEntry]:
        return {task.name: TensorEntry(shape=list(task.shape), dtype=task.dtype) for task in self.tasks}

    def _behind(self, references: set[str], stored: Callable[["Plan"], set[str]]) -> set[str]:
        """The models that are referred to, and for intermediates what is `stored` of their own plans."""
        models = {split_reference(reference)[0] for reference in references}
        inner = [plan for name, plan in self.intermediates.items() if name in models]
        return (models - self.intermediates.keys()).union(*(stored(plan) for plan in inner))


def make_plan(
    recipe: Recipe,
    tables: Mapping[str, TensorTable],
    seed: int = 0,
    factors: Mapping[str, Factors] | None = None,
    read_tokens: ReadTokens = no_tokens,
) -> Plan:
    """Plan a checked recipe over the tensor tables of all its models and the factors of all its adapters.

    `read_tokens` gives a stored model's tokens. Raises Refused.
    """
    known = dict(tables)
    plans: dict[str, Plan] = {}
    ordered = in_order(recipe)
    for index, document in ordered[:-1]:
        with within(*recipe.place(index)):
            plan = _plan(document, known, factors or {}, plans, seed, read_tokens)
        plans[str(document.name)] = plan
        known[str(document.name)] = plan.tensors
    with within(*recipe.place(ordered[-1][0])):
        return _plan(recipe, known, factors or {}, plans, seed, read_tokens)


def _plan(
    recipe: RecipeDocument,
    known: Mapping[str, TensorTable],
    factors: Mapping[str, Factors],
    plans: Mapping[str, Plan],
    seed: int,
    read_tokens: ReadTokens,
) -> Plan:
    spec = METHODS[recipe.merge_method]
    parts = sections(recipe)
    adapters = _put_over(recipe, known, factors)
    stored = {**known, **{reference: known[split_reference(reference)[0]] for reference in adapters}}
    donor = recipe.base_model or parts[0].sources[0].model
    place: Place = ("base_model",) if recipe.base_model else (*parts[0].sources[0].place, "model")
    _check_dtypes(stored[donor], donor, place)
    vocabulary = vocabulary_of(recipe, stored, partial(tokens_of, plans, read_tokens))
    tables = vocabulary.tables(stored) if vocabulary else stored
    slots = outline(parts, tables, donor)
    check_match(slots, spec, tables, donor)
    tasks = tuple(_task(slot, recipe, spec, tables, vocabulary) for slot in slots)
    origins = {origin.model for part in parts if (origin := part.origin(spec))}
    ingredients = (source.model for part in parts for source in part.ingredients(spec))
    used = {split_reference(reference)[0] for _, reference in recipe.mentions()}
    return Plan(
        method=spec.name,
        sources=tuple(dict.fromkeys(part for model in ingredients for part in _stored(model, plans))),
        origin=origins.pop() if len(origins) == 1 else None,
        donor=donor,
        layers=_layers(slots),
        load_dtype=HEADER_DTYPE[recipe.dtype] if recipe.dtype else None,
        tasks=tasks,
        seed=seed,
        reads={task.name: sum(_bytes(ref, stored, plans) for ref in task.read) for task in tasks},
        adapters=adapters,
        intermediates={name: plan for name, plan in plans.items() if name in used},
        vocabulary=vocabulary,
        chat_template=recipe.chat_template,
    )


def _put_over(
    recipe: RecipeDocument, known: Mapping[str, TensorTable], factors: Mapping[str, Factors]
) -> dict[str, Adapter]:
    """Every model+adapter of the recipe. Raises Refused where they don't fit, naming a tensor."""
    found: dict[str, Adapter] = {}
    for place, reference in recipe.mentions():
        model, adapter = split_reference(reference)
        if adapter is not None:
            try:
                found[reference] = factors[adapter].over(known[model], model)
            except Malformed as error:
                raise refuse(*place, detail=f"{adapter} does not fit {model}: {error}") from None
    return found


def _stored(reference: str, plans: Mapping[str, Plan]) -> Iterator[str]:
    """The stored models and adapters that a reference leads to."""
    model, adapter = split_reference(reference)
    yield from plans[model].sources if model in plans else [model]
    if adapter:
        yield adapter


def _bytes(ref: TensorRef, tables: Mapping[str, TensorTable], plans: Mapping[str, Plan]) -> int:
    """Of stored tensors that reading this one takes."""
    model, _ = split_reference(ref.model)
    if model in plans:
        return plans[model].reads[ref.name]
    entry = tables[model][ref.name]
    return prod(entry.shape) * ITEM_BYTES[entry.dtype]


def tokens_of(plans: Mapping[str, Plan], stored: ReadTokens, reference: str) -> TokenSource:
    """Of whatever a recipe refers to: what one of `plans` makes, or a stored model.

    Raises Malformed or OSError.
    """
    model, _ = split_reference(reference)
    if model not in plans:
        return stored(model)
    vocabulary = plans[model].vocabulary
    if vocabulary is None:
        return tokens_of(plans, stored, plans[model].donor)
    return TokenSource(vocabulary.tokens, lambda: vocabulary.tokens)


def _task(
    slot: Slot,
    recipe: RecipeDocument,
    spec: MethodSpec,
    tables: Mapping[str, TensorTable],
    vocabulary: Vocabulary | None,
) -> TensorTask:
    shape = tuple(slot.template.shape)
    wanted = recipe.out_dtype or recipe.dtype
    floats = HEADER_DTYPE[wanted] if wanted else slot.template.dtype
    if slot.section is None or not is_merged(slot.name, slot.template):
        kept = TensorRef(slot.template_model, slot.template_name)
        dtype = floats if is_merged(slot.name, slot.template) else slot.template.dtype
        return TensorTask(name=slot.name, shape=shape, dtype=dtype, sources=(kept,))
    named = [(source, slot.name_in(source)) for source in slot.section.ingredients(spec)]
    origin = slot.section.origin(spec)
    shared, own = tensor_parameters(spec, slot.section, slot.name, named, slot.t)
    return TensorTask(
        name=slot.name,
        shape=shape,
        dtype=floats,
        sources=tuple(_ref(source, name, tables) for source, name in named),
        origin=_ref(origin, slot.name_in(origin), tables) if origin else None,
        parameters=shared,
        model_parameters=own,
        lenders=tuple(
            TensorRef(*lender) for lender in lenders(vocabulary, slot.name, slot.template.shape, tables)
        ),
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
