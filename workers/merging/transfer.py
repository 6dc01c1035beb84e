"""Between the host's memory and a GPU's, by way of pinned memory, which the GPU reads and writes by itself.

Pageable memory, mapped files above all, the driver would copy piece by piece while everybody waits. torch
keeps pinned memory for the next transfer, and gives none away before a transfer under way has ended.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Reader = Callable[[int, int, int], Tensor]
"""Rows start, start + step, … below stop of one tensor, as in Weights.read."""


def upload(rows: Tensor, device: torch.device) -> Tensor:
    """The rows on `device`; themselves where they are there."""
    # Asked first: in to() the threads wait for one another, even where there is nothing to do.
    if rows.device.type == device.type:
        return rows
    return _pinned_like(rows).copy_(rows).to(device, non_blocking=True)


def download(rows: Tensor) -> Tensor:
    """The rows in the host's memory; themselves where they are there."""
    return rows if rows.is_cpu else _pinned_like(rows).copy_(rows)


def free_bytes(device: torch.device) -> int:
    """Of the memory of a GPU, this process's unused share aside."""
    return torch.cuda.mem_get_info(device)[0]


def resident(read: Reader, device: torch.device) -> Reader:
    """`read` whose rows stay on `device` once they were asked for, so that a second pass transfers nothing.

    Many threads may call it, each for rows of its own.
    """
    kept: dict[tuple[int, int], Tensor] = {}

    def read_once(start: int, stop: int, step: int) -> Tensor:
        if step > 1:
            return upload(read(start, stop, step), device)
        if (start, stop) not in kept:
            kept[start, stop] = upload(read(start, stop, step), device)
        return kept[start, stop]

    return read_once


def _pinned_like(rows: Tensor) -> Tensor:
    return torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
