"""The value that a recipe's setting has for one tensor, by mergekit's rules of precedence."""

import re
from dataclasses import dataclass

from service.contracts.recipe import Parameters, Setting

_LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def layer_index(tensor: str) -> int | None:
    """The first number among a tensor name's dotted parts: `model.layers.7.mlp.up_proj.weight` -> 7."""
    match = _LAYER.search(tensor)
    return int(match.group(1)) if match else None


@dataclass(frozen=True)
class Depth:
    """Where a tensor lies: `t` runs from 0 (first layer) to 1 (last); tensors outside the layers have 0."""

    layers: int

    def of(self, tensor: str) -> float:
        index = layer_index(tensor)
        if index is None:
            return 0.0
        return index / (self.layers - 1) if self.layers > 1 else 1.0


def evaluate(setting: Setting, tensor: str, t: float) -> float | None:
    """The first condition whose filter is a part of the name, its gradient taken at `t`; None if none fits."""
    for condition in setting:
        if condition.filter in (None, "*") or (condition.filter or "") in tensor:
            return _gradient(condition.value, t)
    return None


def _gradient(values: tuple[float, ...], t: float) -> float:
    """Piecewise linear through equally spaced `values`, as in mergekit."""
    position = t * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    return (1 - (position - low)) * values[low] + (position - low) * values[high]


def lookup(name: str, tensor: str, t: float, *levels: Parameters) -> float | None:
    """The parameter at the first level that has a value for this tensor."""
    for level in levels:
        if name in level:
            value = evaluate(level[name], tensor, t)
            if value is not None:
                return value
    return None
