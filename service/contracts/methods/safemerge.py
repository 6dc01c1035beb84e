"""SafeMERGE: lead a fine-tuned model back to a safe one, only where it has left the safety subspace."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    threshold: float = Field(
        default=0.35,
        ge=0.0,
        le=1.0,
        examples=[0.7],
        description="Least similarity, 0 to 1, of a change to its projection on the safety subspace.",
    )
    alpha: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Share of the safe model in tensors below that."
    )


SPEC = MethodSpec(
    name="safemerge",
    summary="Merges the fine-tuned model with the safe one wherever it has left the safety subspace.",
    paper="arXiv 2503.17239 (SafeMERGE)",
    base="origin",
    min_models=2,
    max_models=3,
    roles=("fine-tuned", "safe", "unaligned"),
    parameters=Parameters,
)
