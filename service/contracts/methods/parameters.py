"""Parameters that several methods have."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from service.contracts.methods.spec import MethodParameters


class WeightedModel(MethodParameters):
    weight: float = Field(
        examples=[0.5, 1.0, 0.7], description="This model's share; negative ones take a behaviour away."
    )


class SparseModel(WeightedModel):
    density: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        examples=[0.5, 0.6, 0.7],
        description="Share of the task vector's entries that is kept.",
    )


class OutlierModel(SparseModel):
    gamma: float = Field(
        default=0.01,
        ge=0.0,
        lt=1.0,
        examples=[0.05, 0.1, 0.0],
        description="Share of the largest entries dropped.",
    )


class RankedModel(SparseModel):
    epsilon: float = Field(
        default=0.15,
        ge=0.0,
        description="From density - epsilon for a row's smallest entry to density + epsilon.",
    )

    @model_validator(mode="after")
    def probabilities_between_0_and_1(self) -> "RankedModel":
        if self.density < 1 and not self.epsilon < min(self.density, 1 - self.density):
            raise ValueError("density - epsilon and density + epsilon must both lie between 0 and 1")
        return self


class MergedScale(MethodParameters):
    lambda_: float = Field(default=1.0, alias="lambda", description="Scale of the merged task vector.")


class TaskVectorParameters(MergedScale):
    """Of the methods that thin out task vectors and add them to the base; they differ in the defaults."""

    normalize: bool = Field(default=False, description="Divide by the sum of the weights.")
    int8_mask: bool = Field(default=False, description="Accepted for mergekit's sake; changes nothing.")
    rescale: bool = Field(default=False, description="Scale what is kept back to the task vector's L1 norm.")


def refuse_zero_sum(models: Sequence[WeightedModel]) -> None:
    """Raises ValueError for weights that can't be normalised."""
    if abs(sum(model.weight for model in models)) < 1e-8:
        raise ValueError("the weights add up to 0, which leaves nothing to divide by")
