"""One model, unchanged or scaled: for stacking layers of several."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class ModelParameters(MethodParameters):
    scale: float = Field(default=1.0, description="Factor.")


SPEC = MethodSpec(
    name="passthrough",
    summary="Takes the tensors of one model; slices stack layers of several.",
    paper="none",
    base="donor",
    min_models=1,
    max_models=1,
    model_parameters=ModelParameters,
)
