"""Validated strings: every id, alias and language tag in the API is one of these."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

MODEL_ID_PATTERN = r"^m_[0-9a-f]{16}$"


def _unlike_an_id(name: str) -> str:
    if re.fullmatch(MODEL_ID_PATTERN, name):
        raise ValueError(f"'{name}' looks like a model's id; choose another alias")
    return name


ALIAS_LENGTH = 63
ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID_PATTERN)]
PinnedReference = Annotated[str, StringConstraints(pattern=r"^m_[0-9a-f]{16}(\+m_[0-9a-f]{16})?$")]
"""A model, or a model with an adapter over it, by ids."""
AliasName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$"), AfterValidator(_unlike_an_id)
]
ModelRef = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A model's id or an alias of it."""
JobId = Annotated[str, StringConstraints(pattern=r"^j_[0-9a-f]{16}$")]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$")]
