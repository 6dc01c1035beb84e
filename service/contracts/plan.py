"""POST /merges?dry_run=true: what a recipe would do."""

from pydantic import BaseModel

from service.contracts.names import ModelId


class PlanSummary(BaseModel):
    model: ModelId
    """The id that the result will have, or has."""
    exists: bool
    method: str
    sources: list[ModelId]
    base: ModelId | None
    donor: ModelId
    """Gives config and tokenizer."""
    seed: int
    tensors: int
    parameters: int
    bytes_read: int
    bytes_written: int
    bytes_free: int
