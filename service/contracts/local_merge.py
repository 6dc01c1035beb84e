"""What `polymerge merge` hands to the process that merges, which is no client any more."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_size(raw: object) -> object:
    """A number of bytes, also as in 500MB or 5GB (kB is 1000 bytes). Raises ValueError."""
    if not isinstance(raw, str):
        return raw
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", raw.lower())
    if not match:
        raise ValueError(f"'{raw}' is no size; write bytes, or a number with kB, MB or GB")
    return int(float(match[1]) * _UNITS[match[2]])


def check_device(device: str) -> str:
    """Raises ValueError."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"'{device}' is none of auto, cpu, cuda, cuda:1")
    return device


class LocalMerge(BaseModel):
    """One merge on this machine, without a service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    """Its file; - for standard input."""
    out: Path
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Annotated[str, AfterValidator(check_device)] = "auto"
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    shard_size: Annotated[int, BeforeValidator(parse_size), Field(ge=1)] = 5 * 10**9
    """Bytes of tensors in a file, at most."""
    dry_run: bool = False
    lenient: bool = False
    """Pass over unknown keys of the recipe, with a warning."""
    force: bool = False
    """Replace the model that is in `out`."""
    quiet: bool = False
    """Neither plan nor progress on standard error; warnings and errors all the same."""
