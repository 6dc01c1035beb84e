"""RFC 9457 problem details: the body of every error outside /v1."""

from pydantic import BaseModel, ConfigDict

Place = tuple[str | int, ...]
"""Parts of a JSON pointer."""


class FieldProblem(BaseModel):
    """One thing wrong with the request. `pointer` is a JSON pointer (RFC 6901) into its body."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    detail: str


class Problem(BaseModel):
    """`type` is a stable slug that programs can switch on; `detail` says what is wrong and what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


def json_pointer(*parts: str | int) -> str:
    """RFC 6901 pointer from its parts: ("models", 0, "a/b") -> "/models/0/a~1b"."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
