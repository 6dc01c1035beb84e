"""Karcher mean: the point on the sphere with the smallest sum of squared arcs."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    max_iter: int = Field(default=10, ge=1, le=1000, description="Steps at most.")
    tol: float = Field(default=1e-5, gt=0.0, description="Steps and angles below it are as good as none.")


SPEC = MethodSpec(
    name="karcher",
    summary="Riemannian centre of the models on the sphere, at their mean length; all models count alike.",
    paper="arXiv 2603.04972 (Karcher mean)",
    base="participant",
    min_models=1,
    parameters=Parameters,
)
