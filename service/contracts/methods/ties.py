"""TIES: trim the task vectors, elect a sign, merge those that agree."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    normalize: bool = Field(
        default=True, description="Divide by the weights of the models that agree with the elected sign."
    )
    lambda_: float = Field(default=1.0, alias="lambda", description="Scale of the merged task vector.")
    int8_mask: bool = Field(default=False, description="Accepted for mergekit's sake; changes nothing.")
    rescale: bool = Field(default=False, description="Scale trimmed task vectors back to their L1 norm.")


class ModelParameters(MethodParameters):
    weight: float = Field(description="This model's share.")
    density: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of the task vector's entries kept, largest first."
    )


SPEC = MethodSpec(
    name="ties",
    summary="Trims each task vector to its largest entries, elects a sign per entry, sums those that agree.",
    paper="arXiv 2306.01708 (TIES-Merging)",
    base="origin",
    min_models=1,
    parameters=Parameters,
    model_parameters=ModelParameters,
)
