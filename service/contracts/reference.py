"""How recipes name models."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def _parse_reference(raw: object) -> object:
    """mergekit's long form {model: {path: …}, lora: {path: …}} as the short one."""
    if not isinstance(raw, dict):
        return raw
    parts = [raw[key] for key in ("model", "lora") if raw.get(key)]
    if raw.keys() - {"model", "lora"} or not all(isinstance(part, dict) for part in parts):
        raise ValueError("a model is an id or alias, or one with an adapter over it: model+adapter")
    if any(part.keys() != {"path"} for part in parts):
        raise ValueError("a model, or an adapter, is written as {path: …} here")
    return "+".join(str(part["path"]) for part in parts)


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
