"""Recipe text (YAML or JSON, as mergekit writes it) to a Recipe whose names, counts and keys are right."""

from typing import Any

from pydantic import BaseModel, ValidationError

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodSpec
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Parameters, Recipe, RecipeModel, Slice, SliceSource
from service.recipes.document import MAX_RECIPE_BYTES, load_document
from service.recipes.parameters import parameter_names
from service.recipes.refusal import Refused, nearest, refuse
from service.recipes.sections import Place, Section, sections

__all__ = ["MAX_RECIPE_BYTES", "parse_recipe", "validate_recipe"]

_PLAIN_MESSAGES = {
    "missing": "this key is required",
    "tuple_type": "a list is needed",
    "model_type": "a mapping is needed",
    "dict_type": "a mapping is needed",
    "too_short": "the list must not be empty",
}
NOT_YET = {"modules", "tokenizer", "tokenizer_source", "chat_template"}


def parse_recipe(text: str | bytes) -> Recipe:
    """Parse and check everything that needs no knowledge of the models. Raises Refused."""
    return validate_recipe(load_document(text))


def validate_recipe(document: Any) -> Recipe:
    """Check a parsed document. Raises Refused with every problem found at once."""
    if not isinstance(document, dict):
        raise refuse(detail="a recipe is a mapping with the keys merge_method and models")
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise Refused([_explain(item) for item in error.errors()]) from None
    problems = _structure_problems(recipe) or _method_problems(recipe)
    if problems:
        raise Refused(problems)
    return recipe


def _explain(error: Any) -> FieldProblem:
    """A pydantic error in our words, with the nearest valid name for an unknown key."""
    pointer = json_pointer(*error["loc"])
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] != "extra_forbidden":
        return FieldProblem(pointer=pointer, detail=_plain_message(error))
    if len(error["loc"]) == 1 and key in NOT_YET:
        return FieldProblem(pointer=pointer, detail=f"mergekit's `{key}` is not supported yet")
    schema = _schema_around(error["loc"])
    return FieldProblem(pointer=pointer, detail=f"unknown key '{key}': {nearest(key, schema.model_fields)}")


def _schema_around(location: Place) -> type[BaseModel]:
    """Of the mapping that holds the key at `location`."""
    if len(location) == 1:
        return Recipe
    if location[0] == "models":
        return RecipeModel
    return SliceSource if "sources" in location[:-1] else Slice


def _plain_message(error: Any) -> str:
    if error["type"] in _PLAIN_MESSAGES:
        return _PLAIN_MESSAGES[error["type"]]
    if error["type"] == "string_pattern_mismatch":
        return f"'{error['input']}' is none of float32, float16, bfloat16"
    if error["type"] == "string_type":
        return f"a text is needed, found {error['input']!r}; put it in quotes if it is meant as text"
    return str(error["msg"]).removeprefix("Value error, ")


def _structure_problems(recipe: Recipe) -> list[FieldProblem]:
    if (recipe.models is None) == (recipe.slices is None):
        found = "neither" if recipe.models is None else "both"
        return [FieldProblem(pointer="/models", detail=f"give either models or slices, found {found}")]
    return [
        FieldProblem(
            pointer=json_pointer(*source.place, "layer_range"),
            detail="layer_range is [start, end) with start below end",
        )
        for section in sections(recipe)
        for source in section.sources
        if source.layers is not None and not source.layers
    ]


def _method_problems(recipe: Recipe) -> list[FieldProblem]:
    spec = METHODS.get(recipe.merge_method)
    if spec is None:
        detail = f"unknown method '{recipe.merge_method}': {nearest(recipe.merge_method, METHODS)}"
        return [FieldProblem(pointer="/merge_method", detail=detail)]
    arity = [problem for section in sections(recipe) for problem in _arity_problems(section, spec)]
    return arity + _parameter_problems(recipe, spec)


def _arity_problems(section: Section, spec: MethodSpec) -> list[FieldProblem]:
    if section.base is None and spec.base in ("endpoint", "origin"):
        role = "the model at t=0" if spec.base == "endpoint" else "the model that task vectors start from"
        return [FieldProblem(pointer="/base_model", detail=f"{spec.name} needs base_model, {role}")]
    if section.base and spec.base != "donor" and not section.has_base(spec):
        detail = f"{spec.name} needs the layers of base_model, '{section.base}', among the slice's sources"
        return [FieldProblem(pointer=json_pointer(*section.place), detail=detail)]
    seen = set()
    for source in section.sources:
        if (source.model, source.layers) in seen:
            detail = f"'{source.model}' is listed twice; give it once, with the sum of its weights"
            return [FieldProblem(pointer=json_pointer(*source.place, "model"), detail=detail)]
        seen.add((source.model, source.layers))
    count = len(section.ingredients(spec))
    if count < spec.min_models or (spec.max_models is not None and count > spec.max_models):
        wanted = (
            f"exactly {spec.min_models}"
            if spec.max_models == spec.min_models
            else f"at least {spec.min_models}"
        )
        models = "model" if spec.min_models == 1 else "models"
        beside = " beside base_model" if spec.base == "origin" else ""
        detail = f"{spec.name} merges {wanted} {models}{beside}, found {count}"
        return [FieldProblem(pointer=json_pointer(*section.place), detail=detail)]
    return []


def _parameter_problems(recipe: Recipe, spec: MethodSpec) -> list[FieldProblem]:
    problems = _unknown_parameters(recipe.parameters, spec, ("parameters",))
    for index, item in enumerate(recipe.slices or ()):
        problems += _unknown_parameters(item.parameters, spec, ("slices", index, "parameters"))
    for section in sections(recipe):
        for source in section.sources:
            problems += _misplaced_parameters(source.parameters, spec, (*source.place, "parameters"))
    return problems


def _unknown_parameters(parameters: Parameters, spec: MethodSpec, place: Place) -> list[FieldProblem]:
    known = parameter_names(spec.parameters) | parameter_names(spec.model_parameters)
    return [
        FieldProblem(
            pointer=json_pointer(*place, name), detail=f"unknown parameter '{name}': {nearest(name, known)}"
        )
        for name in parameters
        if name not in known
    ]


def _misplaced_parameters(parameters: Parameters, spec: MethodSpec, place: Place) -> list[FieldProblem]:
    """Unknown ones, and those that a source can't set for itself."""
    shared, own = parameter_names(spec.parameters), parameter_names(spec.model_parameters)
    problems = []
    for name in parameters:
        if name in shared:
            detail = f"'{name}' holds for the whole merge: move it to the top-level parameters"
        elif name not in own:
            detail = f"unknown parameter '{name}': {nearest(name, own)}"
        else:
            continue
        problems.append(FieldProblem(pointer=json_pointer(*place, name), detail=detail))
    return problems
