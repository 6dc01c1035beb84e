"""Nearswap: take from the other model what hardly differs."""

from pydantic import Field

from service.contracts.methods.spec import MethodParameters, MethodSpec


class Parameters(MethodParameters):
    t: float = Field(
        ge=0.0, examples=[0.05], description="Entries that differ by less are taken over; others in part."
    )


SPEC = MethodSpec(
    name="nearswap",
    summary="Moves the base towards the other model where the two are closer than t.",
    paper="Nearswap, as in mergekit",
    base="origin",
    min_models=1,
    max_models=1,
    parameters=Parameters,
)
