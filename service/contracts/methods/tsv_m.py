"""TSV-M: the leading singular vectors of each task vector, made orthogonal to each other's."""

from service.contracts.methods.parameters import MergedScale
from service.contracts.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="tsv_m",
    summary="Adds the leading singular vectors of each model's changes, decorrelated between the models.",
    paper="arXiv 2412.00081 (Task singular vectors)",
    base="origin",
    min_models=1,
    parameters=MergedScale,
)
