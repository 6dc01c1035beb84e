"""What a request calls a model: an id, an alias, either with @ and a language, a bare @language, a judge."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from service.answering.judges import PREFIX
from service.contracts.language import LanguageProfile
from service.contracts.problem import FieldProblem
from service.errors import ProblemError
from service.languages.profile import NotALanguage
from service.models.context import positions
from service.models.registry import UnknownModel
from service.models.store import Store
from service.parts import Parts
from service.recipes.refusal import nearest
from service.telemetry.request import note_model


@dataclass(frozen=True)
class Addressed:
    model: str
    """The model's id, or a judge's `judge/NAME`."""
    profile: LanguageProfile | None
    context: int | None
    """Tokens that prompt and answer share; None when the service can't know, as of a judge."""

    def check_length(self, max_tokens: int, field: str = "max_tokens") -> None:
        """Raises ProblemError before anything is loaded for a request that can't fit."""
        if self.context is not None and max_tokens >= self.context:
            detail = f"{field} is {max_tokens}; the context, prompt included, has {self.context} tokens"
            problem = FieldProblem(pointer=f"/{field}", detail=detail)
            raise ProblemError(422, "context-length-exceeded", detail, errors=[problem])


async def address(parts: Parts, reference: str, language: str | None = None) -> Addressed:
    """Resolve `alias@fr`; a language given beside it wins. Raises ProblemError at /model or /language."""
    name, _, tag = reference.partition("@")
    profile = profile_of(parts, tag, "/model") if tag else None
    if language is not None:
        profile = profile_of(parts, language, "/language")
    if name.startswith(PREFIX):
        found = Addressed(_judge(parts, name), profile, None)
    else:
        model = await _resolve(parts, name or _default(parts, profile))
        found = Addressed(model, profile, context_of(parts, model))
    note_model(found.model, profile.tag if profile else None)
    return found


async def address_body(parts: Parts, pinned: str | None, body: dict[str, Any]) -> Addressed:
    """The model that the path or the body of a request names. Raises ProblemError."""
    reference = pinned or body.get("model") or ""
    if not isinstance(reference, str):
        raise _invalid("`model` must be an id or alias from GET /v1/models")
    return await address(parts, reference)


def profile_of(parts: Parts, tag: str, pointer: str) -> LanguageProfile:
    """Raises ProblemError at `pointer`."""
    try:
        return parts.profiles.get(tag)
    except NotALanguage as error:
        place = FieldProblem(pointer=pointer, detail=str(error))
        raise ProblemError(422, "unknown-language", str(error), errors=[place]) from None


def context_of(parts: Parts, model: str) -> int:
    """Tokens of the model's context in an engine of ours; a damaged model is found out when it is loaded."""
    try:
        return min(parts.settings.max_model_len, _positions(parts.store, model))
    except (OSError, ValueError):
        return parts.settings.max_model_len


@lru_cache(maxsize=4096)
def _positions(store: Store, model: str) -> int:
    """Read once: a model may be written out meanwhile, but never changes."""
    return positions(store.path(model))


def _default(parts: Parts, profile: LanguageProfile | None) -> str:
    found = (profile.model if profile else None) or parts.settings.default_model
    if found is None:
        raise _invalid("`model` is required: an id or alias from GET /v1/models (there is no default model)")
    return found


async def _resolve(parts: Parts, name: str) -> str:
    try:
        return await parts.usable.find(name)
    except UnknownModel as error:
        raise _unknown(str(error)) from None


def _judge(parts: Parts, name: str) -> str:
    judges = parts.models.judges
    if name not in judges:
        raise _unknown(f"no judge '{name}' is configured: {nearest(name, judges)}")
    return name


def _unknown(detail: str) -> ProblemError:
    place = FieldProblem(pointer="/model", detail=detail)
    return ProblemError(404, "unknown-model", detail, errors=[place])


def _invalid(detail: str) -> ProblemError:
    return ProblemError(
        422, "invalid-request", detail, errors=[FieldProblem(pointer="/model", detail=detail)]
    )
