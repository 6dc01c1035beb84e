"""What a model changed in its base."""

from typing import NamedTuple

import torch
from torch import Tensor


class Difference(NamedTuple):
    """A tensor less another, not computed yet; or a tensor by itself."""

    minuend: Tensor
    subtrahend: Tensor | None = None

    def values(self) -> Tensor:
        """float32; not to be written to."""
        return self.minuend.float() if self.subtrahend is None else difference(self.minuend, self.subtrahend)


def difference(model: Tensor, base: Tensor) -> Tensor:
    """model - base, float32, in memory of its own."""
    if model.is_cpu and model.dtype == base.dtype == torch.bfloat16:
        # Loaded only here: a merge without task vectors needs no compiler, which takes its time to import.
        from workers.merging import kernels

        return kernels.subtract(model, base)
    # One of the two is float32, so the other one is widened on the way.
    return model.float() - base
