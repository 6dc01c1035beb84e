"""No NaN and no infinity gets into a result unnoticed."""

from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor


class NotFinite(Exception):
    """The arithmetic gave NaN or infinity: the recipe or a source is bad."""


class Rounded(NamedTuple):
    """Rows in the dtype of the result, from whoever has looked them over already."""

    rows: Tensor
    finite: bool
    """All of them."""


def rounded(rows: Tensor | Rounded, dtype: torch.dtype, name: str) -> Tensor:
    """The rows in `dtype`. Raises NotFinite, naming the tensor that they are of."""
    if isinstance(rows, Rounded):
        result, finite = rows
    elif dtype == torch.bfloat16 and rows.dtype == torch.float32 and rows.is_cpu:
        # Not imported with this module: vLLM, which imports the engine, can't start once numba is there.
        from workers.merging import kernels

        result, finite = kernels.to_bfloat16(rows)
    else:
        result = rows.to(dtype)
        finite = _is_finite(result)
    if not finite:
        raise NotFinite(f"{name}: the merge gives NaN or infinity; look at weights and sources")
    return result


def _is_finite(tensor: Tensor) -> bool:
    # NaN and infinity survive a sum, which is far quicker than looking at every element; a sum may overflow.
    return isfinite(float(tensor.sum(dtype=torch.float32))) or bool(torch.isfinite(tensor).all())
