"""What a model changed in its base."""

import torch
from torch import Tensor


def difference(model: Tensor, base: Tensor) -> Tensor:
    """model - base, float32, in memory of its own."""
    if model.is_cpu and model.dtype == base.dtype == torch.bfloat16:
        # Loaded only here: a merge without task vectors needs no compiler, which takes its time to import.
        from workers.merging import kernels

        return kernels.bfloat16_difference(model, base)
    return model.float() - base.float()
