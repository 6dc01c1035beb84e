"""POST /merges?dry_run=true: what a recipe would do."""

from pydantic import BaseModel

from service.contracts.names import JobId, ModelId, PinnedReference
from service.contracts.problem import FieldProblem


class PlanSummary(BaseModel):
    model: ModelId
    """The id that the result will have, or has."""
    exists: bool
    method: str
    sources: list[ModelId]
    """Models and adapters that are merged, those of intermediates among them."""
    base: PinnedReference | None
    donor: ModelId
    """Gives config and tokenizer."""
    intermediates: list[ModelId] = []
    """What is made on the way and never written, under the ids that it would have by itself."""
    seed: int
    tensors: int
    parameters: int
    bytes_read: int
    bytes_written: int
    bytes_free: int
    waiting_for: list[JobId] = []
    """The jobs that have to make some of the sources first."""
    warnings: list[FieldProblem] = []
    """What was passed over in the recipe."""
