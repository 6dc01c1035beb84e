"""PEFT LoRA adapters: which tensors of the base they change, and by how much.

A pair (A, B) changes the base tensor W of shape (out, in) to W + scaling * B @ A, with A (rank, in) and
B (out, rank). scaling is alpha / rank (Hu et al. 2021, arXiv 2106.09685), or alpha / sqrt(rank) with
use_rslora (Kalajdzievski 2023, arXiv 2312.03732).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contracts.model import Manifest, TensorEntry
from service.recipes.dtypes import FLOATS
from service.sources.json_object import read_object
from service.sources.malformed import Malformed, refused_at
from service.sources.safetensors_header import read_header

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_READ = {
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "init_lora_weights",
}
_WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "target_modules", "task_type",
}  # fmt: skip
_PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to initialise the factors that leave the base's own weights alone; pissa and olora, say, do not."""
_PLAIN_PATTERN = re.compile(r"[\w.^$\\-]{1,200}")
"""PEFT takes any regular expression; one with a quantifier can take forever to match."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that fits its base."""

    folder: Path
    pairs: Mapping[str, tuple[str, str, float]]
    """Base tensor -> (name of A, name of B, scaling)."""


def inspect_adapter(folder: Path, base: Manifest) -> Adapter:
    """Check the adapter's two files against the base's tensors. Raises Refused at /source/adapter."""
    with refused_at("source", "adapter"):
        return read_factors(folder).over(base.tensors, base.id)


def read_factors(folder: Path) -> "Factors":
    """Check the adapter's two files for what they are by themselves. Raises Malformed or OSError."""
    if not (folder / WEIGHTS).is_file():
        if (folder / "adapter_model.bin").is_file():
            raise Malformed("adapter_model.bin is a pickle: pickle runs code; convert it to safetensors")
        raise Malformed(f"there is no {WEIGHTS}")
    if not (folder / CONFIG).is_file():
        raise Malformed(f"there is no {CONFIG}")
    config = _Config(read_object(folder / CONFIG))
    entries = read_header(folder / WEIGHTS)
    return Factors(folder, config, entries, _modules(entries))


@dataclass(frozen=True)
class Factors:
    """A LoRA adapter that has not been put over a model yet."""

    folder: Path
    _config: "_Config"
    _entries: Mapping[str, TensorEntry]
    _changed: list[str]

    def over(self, tensors: Mapping[str, TensorEntry], base: str) -> Adapter:
        """The adapter of a model, called `base` in messages. Raises Malformed where a tensor doesn't fit."""
        pairs = {
            f"{module}.weight": _pair(module, self._entries, self._config, tensors, base)
            for module in self._changed
        }
        return Adapter(folder=self.folder, pairs=pairs)


class _Config:
    """adapter_config.json, refused for every variant that W + scaling * B @ A doesn't describe."""

    def __init__(self, values: dict[str, Any]) -> None:
        _check_variant(values)
        self._rslora = bool(values.get("use_rslora"))
        self._rank, self._alpha = values.get("r"), values.get("lora_alpha")
        self._ranks = _patterns(values, "rank_pattern")
        self._alphas = _patterns(values, "alpha_pattern")

    def rank(self, module: str) -> int:
        rank = _of(module, self._ranks, self._rank)
        if type(rank) is not int or rank < 1:
            raise Malformed(f"{CONFIG}: the rank of {module} is {rank!r}, not a positive integer")
        return rank

    def scaling(self, module: str) -> float:
        alpha = _of(module, self._alphas, self._alpha)
        if type(alpha) not in (int, float) or not abs(alpha) < 1e9:
            raise Malformed(f"{CONFIG}: lora_alpha of {module} is {alpha!r}, not a number of sane size")
        rank = self.rank(module)
        return float(alpha / (math.sqrt(rank) if self._rslora else rank))


def _check_variant(values: dict[str, Any]) -> None:
    if values.get("peft_type") != "LORA":
        raise Malformed(f"{CONFIG}: peft_type is {values.get('peft_type')!r}; only LORA is supported")
    if values.get("bias", "none") != "none":
        raise Malformed(f"{CONFIG}: bias is {values['bias']!r}; only adapters without bias are supported")
    if values.get("use_rslora") not in (None, True, False):
        raise Malformed(f"{CONFIG}: use_rslora is {values['use_rslora']!r}, not true or false")
    init = values.get("init_lora_weights", True)
    if init not in _PLAIN_INITS:
        raise Malformed(
            f"{CONFIG}: init_lora_weights {init!r} changes the base; save the adapter as plain LoRA"
        )
    # Whatever else is switched on (use_dora, modules_to_save, fan_in_fan_out, ...) means other arithmetic.
    for name in sorted(values.keys() - _READ - _WITHOUT_EFFECT):
        if values[name]:
            raise Malformed(f"{CONFIG}: '{name}' is set; only plain LoRA is supported")


def _patterns(values: dict[str, Any], name: str) -> dict[re.Pattern[str], Any]:
    found = values.get(name) or {}
    if not isinstance(found, dict):
        raise Malformed(f"{CONFIG}: {name} must be an object")
    compiled = {}
    for pattern, value in found.items():
        try:
            if not _PLAIN_PATTERN.fullmatch(pattern):
                raise ValueError
            compiled[re.compile(rf"(?:.*\.)?(?:{pattern})")] = value
        except (ValueError, re.error):
            raise Malformed(f"{CONFIG}: {name}: '{pattern}' is not a plain module name") from None
    return compiled


def _of(module: str, patterns: dict[re.Pattern[str], Any], default: Any) -> Any:
    """The value of the first pattern that matches the module's name or its end, as in PEFT."""
    return next((value for pattern, value in patterns.items() if pattern.fullmatch(module)), default)


def _modules(factors: Mapping[str, TensorEntry]) -> list[str]:
    """Names of the changed modules, as in the base. Every tensor of the file must belong to a pair."""
    modules = []
    for name in factors:
        stem = next((name.removesuffix(end) for end in (_A, _B) if name.endswith(end)), None)
        if stem is None or not stem.startswith(_PREFIX):
            raise Malformed(f"{WEIGHTS}: '{name}' is no LoRA factor of a linear layer")
        for end in (_A, _B):
            if stem + end not in factors:
                raise Malformed(f"{WEIGHTS}: '{name}' has no counterpart '{stem + end}'")
        if name.endswith(_A):
            modules.append(stem.removeprefix(_PREFIX))
    if not modules:
        raise Malformed(f"{WEIGHTS} has no tensors")
    return modules


def _pair(
    module: str,
    factors: Mapping[str, TensorEntry],
    config: _Config,
    tensors: Mapping[str, TensorEntry],
    base: str,
) -> tuple[str, str, float]:
    a, b = _PREFIX + module + _A, _PREFIX + module + _B
    target = tensors.get(f"{module}.weight")
    if target is None:
        raise Malformed(f"the base {base} has no tensor '{module}.weight', which the adapter changes")
    for name, dtype in ((a, factors[a].dtype), (b, factors[b].dtype), (f"{module}.weight", target.dtype)):
        if dtype not in FLOATS:
            raise Malformed(f"'{name}' has dtype {dtype}; LoRA needs one of {', '.join(sorted(FLOATS))}")
    rank = config.rank(module)
    if len(target.shape) != 2:
        raise Malformed(f"'{module}.weight' of the base {base} has shape {target.shape}; LoRA needs a matrix")
    for name, wanted in ((a, [rank, target.shape[1]]), (b, [target.shape[0], rank])):
        if factors[name].shape != wanted:
            raise Malformed(
                f"'{name}' has shape {factors[name].shape}; rank {rank} on the base {base}, "
                f"whose '{module}.weight' is {target.shape}, needs {wanted}"
            )
    return a, b, config.scaling(module)
