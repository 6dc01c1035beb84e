"""How recipes name models."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def _parse_reference(raw: object) -> object:
    """mergekit's long form {model: {path: …, revision: …}, lora: {path: …}} as the short one."""
    if not isinstance(raw, dict):
        return raw
    given = {key: part for key, part in raw.items() if part is not None}
    if given.keys() - {"model", "lora"} or not all(isinstance(part, dict) for part in given.values()):
        raise ValueError("a model is an id or alias, or one with an adapter over it: model+adapter")
    return "+".join(_short(given[key]) for key in ("model", "lora") if key in given)


def _short(part: dict[str, object]) -> str:
    """`path`, or `path@revision`."""
    given = {key: value for key, value in part.items() if value is not None}
    if "path" not in given or given.keys() - {"path", "revision"}:
        raise ValueError("a model, or an adapter, is written as {path: …, revision: …} here")
    return "@".join(str(given[key]) for key in ("path", "revision") if key in given)


def _check_reference(reference: str) -> str:
    parts = reference.split("+")
    if len(parts) > 2 or not all(parts):
        raise ValueError(
            f"'{reference}' is neither a model nor a model with one adapter over it: model+adapter"
        )
    return reference


def split_reference(reference: str) -> tuple[str, str | None]:
    """`model+adapter` -> (model, adapter); `model` -> (model, None)."""
    model, _, adapter = reference.partition("+")
    return model, adapter or None


Reference = Annotated[
    str,
    BeforeValidator(_parse_reference),
    Field(min_length=1, max_length=512),
    AfterValidator(_check_reference),
]
"""A model, or model+adapter: the model with a LoRA adapter applied on the fly."""
