"""Whether models may be merged row by row, when a recipe does not say what to do about their vocabularies."""

from service.contracts.problem import FieldProblem, json_pointer
from service.recipes.refusal import Refused
from service.recipes.vocabulary.result import Models
from service.sources.malformed import Malformed
from service.sources.tokenizer_json import Tokens, TokenSource

_HINT = "`tokenizer: {source: union}` gives the result the tokens of all, each with its own row"


def check_compatible(models: Models) -> None:
    """Raises Refused for models whose rows stand for other tokens than the base's, or the first model's.

    Tokens are compared where both models have a tokenizer.json that can be read.
    """
    ours = _source(models, models.donor)
    problems = []
    for model in models.merged:
        if model != models.donor and (found := _difference(models, ours, model)):
            detail = f"the vocabularies of {model} and {models.donor} differ: {found}; {_HINT}"
            problems.append(FieldProblem(pointer=json_pointer(*models.places[model]), detail=detail))
    if problems:
        raise Refused(problems)


def _difference(models: Models, ours: TokenSource | None, model: str) -> str | None:
    heights = models.heights[model], models.heights[models.donor]
    if None not in heights and heights[0] != heights[1]:
        return f"{heights[0]} embedding rows and {heights[1]}"
    theirs = _source(models, model)
    if ours is None or theirs is None or theirs.identity == ours.identity:
        return None
    by_id = {index: token for token, index in _tokens(ours).items()}
    clashes = [(index, token) for token, index in _tokens(theirs).items() if by_id.get(index, token) != token]
    if not clashes:
        return None
    index, token = min(clashes)
    return f"{len(clashes)} ids stand for other tokens, {index} for '{token}' and '{by_id[index]}'"


def _source(models: Models, model: str) -> TokenSource | None:
    try:
        return models.read(model)
    except (Malformed, OSError):
        return None


def _tokens(source: TokenSource) -> Tokens:
    """None of them if they can't be read."""
    try:
        return source.tokens()
    except Malformed:
        return {}
