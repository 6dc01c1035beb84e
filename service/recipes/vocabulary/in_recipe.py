"""The vocabulary that a recipe asks for, or the check that none is needed."""

from collections.abc import Mapping

from service.contracts.problem import Place
from service.contracts.recipe import RecipeDocument
from service.recipes.refusal import refuse
from service.recipes.tensor_names import TensorTable, stored_name
from service.recipes.vocabulary.compatible import check_compatible
from service.recipes.vocabulary.heights import has_row_per_token, height
from service.recipes.vocabulary.result import Models, ReadTokens, Vocabulary, plan_vocabulary

_TOKENIZER = ("tokenizer", "tokenizer_source")


def vocabulary_of(
    recipe: RecipeDocument, tables: Mapping[str, TensorTable], read: ReadTokens
) -> Vocabulary | None:
    """The result's vocabulary; None if it is simply everybody's.

    `tables` has the tensors of every model that the recipe refers to. Raises Refused.
    """
    places: dict[str, Place] = {}
    for place, reference in recipe.mentions():
        places.setdefault(reference, place)
    models = Models(
        merged=[model for model, place in places.items() if place[0] not in _TOKENIZER],
        base=recipe.base_model,
        heights={model: height(tables[model]) for model in places},
        places=places,
        read=read,
    )
    if recipe.vocabulary is not None:
        return plan_vocabulary(recipe.vocabulary, models)
    check_compatible(models)
    return None


def lenders(
    vocabulary: Vocabulary | None, name: str, shape: list[int], tables: Mapping[str, TensorTable]
) -> list[tuple[str, str]]:
    """Model, and name there, of a tensor of the result in all models that may lend it rows.

    None if its rows stand for no tokens. Raises Refused.
    """
    if vocabulary is None or not has_row_per_token(name):
        return []
    found = []
    for model in vocabulary.lenders:
        stored = stored_name(tables[model], name)
        if stored is None or tables[model][stored].shape != shape:
            detail = (
                f"{model}, which lends embeddings, has no {name} with rows of {shape[1:] or 'one number'}"
            )
            raise refuse("tokenizer", detail=detail)
        found.append((model, stored))
    return found
