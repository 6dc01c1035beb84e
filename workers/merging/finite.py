"""No NaN and no infinity gets into a result unnoticed."""

from math import isfinite

import torch
from torch import Tensor


class NotFinite(Exception):
    """The arithmetic gave NaN or infinity: the recipe or a source is bad."""


def check_finite(rows: Tensor, name: str) -> None:
    """Raises NotFinite, naming the tensor that the rows are of."""
    if not _is_finite(rows):
        raise NotFinite(f"{name}: the merge gives NaN or infinity; look at weights and sources")


def _is_finite(tensor: Tensor) -> bool:
    # NaN and infinity survive a sum, which is far quicker than looking at every element; a sum may overflow.
    return isfinite(float(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())
