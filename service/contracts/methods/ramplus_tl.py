"""RAM+: as RAM, with single changes amplified for models that share much."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    epsilon: float = Field(default=1e-5, gt=0.0, description="Changes up to it count as none.")
    r: float = Field(default=0.1, description="How much more a single change counts per share.")
    alpha: float = Field(default=0.2, ge=0.0, description="Upper bound of that share.")


SPEC = MethodSpec(
    name="ramplus_tl",
    summary="As ram, with changes of a single model scaled up, the more it shares of its others.",
    paper="arXiv 2601.13572 (RAM)",
    base="origin",
    min_models=1,
    parameters=Parameters,
)
