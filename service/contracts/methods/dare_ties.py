"""DARE-TIES: drop random entries of the task vectors, rescale, elect signs as TIES does."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    normalize: bool = Field(
        default=False, description="Divide by the weights of the models that agree with the elected sign."
    )
    lambda_: float = Field(default=1.0, alias="lambda", description="Scale of the merged task vector.")
    int8_mask: bool = Field(default=False, description="Accepted for mergekit's sake; changes nothing.")
    rescale: bool = Field(default=True, description="Scale what is kept back to the task vector's L1 norm.")


class ModelParameters(MethodParameters):
    weight: float = Field(description="This model's share.")
    density: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Probability that an entry of the task vector is kept."
    )


SPEC = MethodSpec(
    name="dare_ties",
    summary="Drops random entries of each task vector, rescales the rest, elects a sign per entry as TIES does.",
    paper="arXiv 2311.03099 (DARE)",
    base="origin",
    min_models=1,
    random=True,
    parameters=Parameters,
    model_parameters=ModelParameters,
)
