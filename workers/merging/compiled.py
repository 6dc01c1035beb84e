"""Functions compiled by numba, whose compiler is not made ready where their machine code is at hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit
from numba.core.runtime import rtsys


def compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code, which holds no interpreter lock.

    Compiled at the first call with arguments of some types, and kept, as numba does with cache=True. numba
    would load all that compiling may need, for half a second, before it looks for what it has kept.
    """
    dispatcher = njit(nogil=True, cache=True)(function)
    dispatcher._cache.load_overload = partial(_load_overload, dispatcher._cache)
    return dispatcher


def _load_overload(cache: Any, signature: Any, target: Any) -> Any:
    """As in numba.core.caching.Cache, without its target.refresh(). The compiler, if need be, does that."""
    rtsys.initialize(target)
    with cache._guard_against_spurious_io_errors():
        return cache._load_overload(signature, target)
