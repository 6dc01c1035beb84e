"""Recipe text (YAML or JSON, as mergekit writes it) to a Recipe whose names, counts and keys are right."""

import json
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from service.contracts.methods import METHODS
from service.contracts.methods.spec import MethodParameters, MethodSpec
from service.contracts.problem import FieldProblem, json_pointer
from service.contracts.recipe import Recipe, RecipeModel
from service.recipes.refusal import Refused, nearest, refuse

MAX_RECIPE_BYTES = 256 * 1024
NOT_YET = {"slices", "modules", "tokenizer", "tokenizer_source", "chat_template"}


def parse_recipe(text: str | bytes) -> Recipe:
    """Parse and check everything that needs no knowledge of the models. Raises Refused."""
    return validate_recipe(load_document(text))


def load_document(text: str | bytes) -> Any:
    """JSON if it is JSON, else YAML without aliases or tags. Raises Refused."""
    if len(text) > MAX_RECIPE_BYTES:
        raise refuse(detail=f"the recipe has {len(text)} bytes; at most {MAX_RECIPE_BYTES} are taken")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise refuse(detail="the recipe is nested too deeply") from error
    except ValueError:
        return _load_yaml(text)


def validate_recipe(document: Any) -> Recipe:
    """Check a parsed document. Raises Refused with every problem found at once."""
    if not isinstance(document, dict):
        raise refuse(detail="a recipe is a mapping with the keys merge_method and models")
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise Refused([_explain(item, document) for item in error.errors()]) from None
    problems = _method_problems(recipe)
    if problems:
        raise Refused(problems)
    return recipe


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few bytes of them can stand for millions of nodes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken in recipes")
        return super().compose_node(parent, index)


def _load_yaml(text: str | bytes) -> Any:
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader, further restricted
    except RecursionError as error:
        raise refuse(detail="the recipe is nested too deeply") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise refuse(detail=f"neither JSON nor YAML: {error}") from None


def _explain(error: Any, document: dict[str, Any]) -> FieldProblem:
    """A pydantic error in our words, with the nearest valid name for an unknown key."""
    pointer = json_pointer(*error["loc"])
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] != "extra_forbidden":
        return FieldProblem(pointer=pointer, detail=_plain_message(error))
    if len(error["loc"]) == 1 and key in NOT_YET:
        return FieldProblem(pointer=pointer, detail=f"mergekit's `{key}` is not supported yet")
    schema: type[BaseModel] = Recipe if len(error["loc"]) == 1 else RecipeModel
    return FieldProblem(pointer=pointer, detail=f"unknown key '{key}': {nearest(key, schema.model_fields)}")


def _plain_message(error: Any) -> str:
    if error["type"] == "missing":
        return "this key is required"
    if error["type"] == "string_pattern_mismatch":
        return f"'{error['input']}' is none of float32, float16, bfloat16"
    return str(error["msg"]).removeprefix("Value error, ")


def _method_problems(recipe: Recipe) -> list[FieldProblem]:
    spec = METHODS.get(recipe.merge_method)
    if spec is None:
        detail = f"unknown method '{recipe.merge_method}': {nearest(recipe.merge_method, METHODS)}"
        return [FieldProblem(pointer="/merge_method", detail=detail)]
    return [*_arity_problems(recipe, spec), *_parameter_problems(recipe, spec)]


def _arity_problems(recipe: Recipe, spec: MethodSpec) -> list[FieldProblem]:
    if recipe.base_model is None and spec.base != "donor":
        role = "the model at t=0" if spec.base == "endpoint" else "the model that task vectors start from"
        return [FieldProblem(pointer="/base_model", detail=f"{spec.name} needs base_model, {role}")]
    names = [item.model for item in recipe.models]
    repeated = next((i for i, name in enumerate(names) if name in names[:i]), None)
    if repeated is not None:
        detail = f"'{names[repeated]}' is listed twice; give it once, with the sum of its weights"
        return [FieldProblem(pointer=json_pointer("models", repeated, "model"), detail=detail)]
    count = len(ingredients(recipe, spec))
    if count < spec.min_models or (spec.max_models is not None and count > spec.max_models):
        wanted = f"exactly {spec.min_models}" if spec.max_models == spec.min_models else f"at least {spec.min_models}"
        beside = " beside base_model" if spec.base == "origin" else ""
        detail = f"{spec.name} merges {wanted} models{beside}, found {count}"
        return [FieldProblem(pointer="/models", detail=detail)]
    return []


def ingredients(recipe: Recipe, spec: MethodSpec) -> list[str]:
    """The references that the method merges, in its order: an endpoint base first, an origin base left out."""
    names = [item.model for item in recipe.models]
    if recipe.base_model is None:
        return names
    if spec.base == "donor":
        # As in mergekit, a base that is not listed takes part if a weight for all models covers it.
        takes_part = recipe.base_model not in names and "weight" in recipe.parameters
        return [*names, recipe.base_model] if takes_part else names
    others = [name for name in names if name != recipe.base_model]
    return [recipe.base_model, *others] if spec.base == "endpoint" else others


def _parameter_problems(recipe: Recipe, spec: MethodSpec) -> list[FieldProblem]:
    shared, own = parameter_names(spec.parameters), parameter_names(spec.model_parameters)
    problems = [
        _unknown_parameter(name, shared | own, "parameters", name)
        for name in recipe.parameters
        if name not in shared | own
    ]
    for index, item in enumerate(recipe.models):
        for name in item.parameters:
            place = ("models", index, "parameters", name)
            if name in shared:
                detail = f"'{name}' holds for the whole merge: move it to the top-level parameters"
                problems.append(FieldProblem(pointer=json_pointer(*place), detail=detail))
            elif name not in own:
                problems.append(_unknown_parameter(name, own, *place))
    return problems


def parameter_names(schema: type[MethodParameters]) -> set[str]:
    """The names of a method's parameters as recipes write them."""
    return {field.alias or name for name, field in schema.model_fields.items()}


def _unknown_parameter(name: str, valid: set[str], *place: str | int) -> FieldProblem:
    detail = f"unknown parameter '{name}': {nearest(name, valid)}"
    return FieldProblem(pointer=json_pointer(*place), detail=detail)
