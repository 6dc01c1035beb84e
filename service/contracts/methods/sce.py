"""SCE: select entries by variance, calculate weights by energy, erase minorities."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    select_topk: float = Field(
        default=1.0, ge=0.0, le=1.0, examples=[0.6], description="Share of the varying entries kept."
    )
    int8_mask: bool = Field(default=False, description="Accepted for mergekit's sake; changes nothing.")


SPEC = MethodSpec(
    name="sce",
    summary="Selects the entries that vary most, weighs models by the energy of their changes, elects signs.",
    paper="arXiv 2408.07990 (FuseChat)",
    base="origin",
    min_models=1,
    parameters=Parameters,
)
