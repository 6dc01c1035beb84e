"""One pure function per method, in the file of its name; its parameters are in the contract of that name.

A method takes the inputs of one tensor and its parameters, maps over the tiles for whatever statistics it
needs, and returns a function from a tile to the same rows of the result.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from workers.merging.inputs import Inputs, TileFunction

Method = Callable[[Inputs, Any, Sequence[Any]], TileFunction]


def load_method(name: str) -> Method:
    """The function called `name` in the module called `name`."""
    method: Method = getattr(import_module(f"{__name__}.{name}"), name)
    return method
