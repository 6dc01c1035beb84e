"""Which entries of a task vector stay."""

from typing import Protocol

from torch import Tensor

from workers.merging import kernels
from workers.merging.inputs import Tile


class Mask(Protocol):
    """Of one model."""

    def thin(self, vector: Tensor, tile: Tile) -> Tensor:
        """The tile's task vector with all others set to zero; a NaN stays. May write into `vector`."""
        ...

    def compiled(self, tile: Tile) -> kernels.Mask | None:
        """The same for the loops on the CPU; None where those don't know it."""
        ...


class KeepAll:
    """The mask that is none."""

    def thin(self, vector: Tensor, tile: Tile) -> Tensor:
        return vector

    def compiled(self, tile: Tile) -> kernels.Mask:
        return kernels.Mask()
