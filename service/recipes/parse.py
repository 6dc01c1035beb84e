"""Recipe text (YAML or JSON, as mergekit writes it) to a Recipe whose names, counts and keys are right."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from service.contracts.problem import FieldProblem, Place
from service.contracts.recipe import (
    MAX_DOCUMENTS,
    Module,
    Recipe,
    RecipeDocument,
    RecipeModel,
    Slice,
    SliceSource,
)
from service.contracts.setting import UNKNOWN_CONDITION_KEY
from service.contracts.tokenizer import RowSource, TokenEmbedding, Tokenizer
from service.recipes.checks import check_document
from service.recipes.document import MAX_RECIPE_BYTES, load_document
from service.recipes.finding import Finding, without
from service.recipes.intermediates import check_names
from service.recipes.refusal import Refused, nearest, refuse

__all__ = ["MAX_RECIPE_BYTES", "parse_recipe", "validate_recipe"]

_PLAIN_MESSAGES = {
    "missing": "this key is required",
    "tuple_type": "a list is needed",
    "model_type": "a mapping is needed",
    "dict_type": "a mapping is needed",
    "too_short": "the list must not be empty",
}
_SCHEMAS: dict[str, type[BaseModel]] = {
    "models": RecipeModel,
    "slices": Slice,
    "sources": SliceSource,
    "modules": Module,
}
"""Of the items of these lists and mappings."""
_TOKENIZER_SCHEMAS: dict[int, type[BaseModel]] = {2: Tokenizer, 4: TokenEmbedding, 5: RowSource}
"""By the length of the place of a key in them."""


def parse_recipe(text: str | bytes, *, lenient: bool = False) -> Recipe:
    """Parse and check everything that needs no knowledge of the models. Raises Refused.

    A lenient reader, or a recipe that says `strict: false`, turns unknown keys into warnings. Parameters that
    only other methods read are warnings always.
    """
    return validate_recipe(load_document(text), lenient=lenient)


def validate_recipe(parsed: Any, *, lenient: bool = False) -> Recipe:
    """Check a parsed document, or a list of them. Raises Refused with every problem found at once."""
    if isinstance(parsed, dict):
        document, warnings = _read(parsed, (), True, lenient)
        return _whole([document], warnings)
    if not isinstance(parsed, list):
        raise refuse(detail="a recipe is a mapping with the keys merge_method and models")
    if not 2 <= len(parsed) <= MAX_DOCUMENTS:
        detail = f"a list has the recipes of 1 to {MAX_DOCUMENTS - 1} intermediates and that of the result"
        raise refuse(detail=f"{detail}, found {len(parsed)} in all")
    documents, warnings = [], []
    result = _result_of(parsed)
    for index, item in enumerate(parsed):
        document, passed_over = _read(item, (index,), index == result, lenient)
        documents.append(document)
        warnings += passed_over
    if findings := check_names(documents, result):
        raise Refused([finding.problem() for finding in findings])
    return _whole(documents, warnings, result)


def _result_of(recipes: list[Any]) -> int:
    """The one that has no name; where there is none or are several, the last is meant."""
    nameless = [
        index for index, item in enumerate(recipes) if isinstance(item, dict) and item.get("name") is None
    ]
    return nameless[0] if len(nameless) == 1 else len(recipes) - 1


def _whole(documents: list[RecipeDocument], warnings: list[FieldProblem], result: int = 0) -> Recipe:
    # What was unknown is gone by now.
    strict = [item.model_copy(update={"strict": True}) for item in documents]
    own = strict.pop(result)
    return Recipe.model_construct(
        **dict(own), intermediates=tuple(strict), position=result, warnings=tuple(warnings)
    )


def _read(
    parsed: Any, place: Place, is_result: bool, lenient: bool
) -> tuple[RecipeDocument, list[FieldProblem]]:
    """One document and what was passed over in it."""
    if not isinstance(parsed, dict):
        raise refuse(*place, detail="a recipe is a mapping with the keys merge_method and models")
    lenient = lenient or parsed.get("strict") is False
    warnings: list[FieldProblem] = []
    while True:
        document, findings = _examine(parsed, is_result)
        serious = [item for item in findings if not (item.idle or (lenient and item.ignorable))]
        if serious:
            raise Refused([finding.problem(*place) for finding in serious])
        if document is not None and not findings:
            return document, warnings
        warnings += [finding.problem(*place) for finding in findings]
        parsed = without(parsed, findings)


def _examine(parsed: dict[str, Any], is_result: bool) -> tuple[RecipeDocument | None, list[Finding]]:
    try:
        document = RecipeDocument.model_validate(parsed)
    except ValidationError as error:
        return None, [_explain(item) for item in _own_errors(error.errors())]
    if is_result and document.name is not None:
        detail = "`name` is for what others are made from; the result gets its name where it is asked for"
        return document, [Finding(("name",), detail, ignorable=True)]
    return document, check_document(document)


def _own_errors(errors: Sequence[Any]) -> list[Any]:
    """Without those of lists that are only too short because their items are bad."""
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(
            other["loc"][: len(error["loc"])] == error["loc"] for other in errors if other is not error
        )
    ]


def _explain(error: Any) -> Finding:
    """A pydantic error in our words, with the nearest valid name for an unknown key."""
    place: Place = error["loc"]
    if error["type"] == UNKNOWN_CONDITION_KEY:
        context = error["ctx"]
        return Finding((*place, context["index"], context["key"]), error["msg"], ignorable=True)
    if error["type"] != "extra_forbidden":
        return Finding(place, _plain_message(error))
    key = str(place[-1])
    known = _schema_around(place).model_fields
    return Finding(place, f"unknown key '{key}': {nearest(key, known)}", ignorable=True)


def _schema_around(place: Place) -> type[BaseModel]:
    """Of the mapping that holds the key at `place`."""
    if len(place) == 1:
        return RecipeDocument
    if place[0] == "tokenizer":
        return _TOKENIZER_SCHEMAS[len(place)]
    return _SCHEMAS[str(place[-3])]


def _plain_message(error: Any) -> str:
    if error["type"] in _PLAIN_MESSAGES:
        return _PLAIN_MESSAGES[error["type"]]
    if error["type"] == "string_pattern_mismatch":
        if error["loc"] == ("name",):
            return f"'{error['input']}' has a +, which puts an adapter over a model"
        return f"'{error['input']}' is none of float32, float16, bfloat16"
    if error["type"] == "string_type":
        return f"a text is needed, found {error['input']!r}; put it in quotes if it is meant as text"
    return str(error["msg"]).removeprefix("Value error, ")
