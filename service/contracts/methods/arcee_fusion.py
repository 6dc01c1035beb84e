"""Fusion of the changes that matter: large where the distribution changes too."""

from service.contracts.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="arcee_fusion",
    summary="Takes over the entries whose change is an outlier in size times divergence of its row.",
    paper="Arcee Fusion, as in mergekit",
    base="origin",
    min_models=1,
    max_models=1,
)
