"""RAM: average only what several models changed."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    epsilon: float = Field(default=1e-5, ge=0.0, description="Changes up to it count as none.")


SPEC = MethodSpec(
    name="ram",
    summary="Adds changes of a single model in full, and the mean of those that several made.",
    paper="arXiv 2601.13572 (RAM)",
    base="origin",
    min_models=1,
    parameters=Parameters,
)
