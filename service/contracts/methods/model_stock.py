"""Model stock: between the mean of the models and the base, by the angles between them."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    filter_wise: bool = Field(default=False, description="Angles row by row, not for the whole tensor.")


SPEC = MethodSpec(
    name="model_stock",
    summary="Goes from the base towards the mean of the models, the further the more they agree.",
    paper="arXiv 2403.19522 (Model stock)",
    base="origin",
    min_models=2,
    parameters=Parameters,
)
