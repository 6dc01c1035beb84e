"""Iso-C: the sum of the task vectors, made equally long in all its directions."""

from service.contracts.methods.parameters import MergedScale
from service.contracts.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="iso_c",
    summary="Adds the sum of the task vectors, each matrix with all its singular values set to their mean.",
    paper="arXiv 2502.04959 (Iso-C)",
    base="origin",
    min_models=1,
    parameters=MergedScale,
)
