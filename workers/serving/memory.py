"""How much memory engines may use, need, and have."""

from contextlib import suppress
from pathlib import Path

import psutil

from service.contracts.model import Manifest
from service.recipes.dtypes import nbytes
from service.settings import Settings
from workers.serving.vllm_server import is_cpu_build

_OF_AVAILABLE = 0.9
_LIBRARIES_BYTES = 2_500_000_000
"""vLLM and torch in the three processes of an engine, before any weights."""
_CGROUP = Path("/sys/fs/cgroup")


def budget(settings: Settings) -> int:
    """Bytes for all engines of a worker: as set, or most of what is available when the worker starts."""
    return settings.serve_memory_bytes or int(_OF_AVAILABLE * min(_available()))


def estimate(manifest: Manifest, settings: Settings, budget: int) -> int:
    """Bytes of an engine that serves the model; with CUDA vLLM takes the whole card, and so the budget."""
    if not is_cpu_build():
        return budget
    weights = sum(nbytes(entry) for entry in manifest.tensors.values())
    # A CPU computes with packed copies, which lie beside the originals while they are made.
    return _LIBRARIES_BYTES + settings.engine_memory_bytes + 2 * weights


def used(pid: int) -> int:
    """Bytes of a process and its descendants, pages that they share with others divided among all."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def _available() -> list[int]:
    """Of the machine; and of the container, where it has a limit."""
    found = [psutil.virtual_memory().available]
    with suppress(OSError, ValueError):
        limit, current = ((_CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        found.append(int(limit) - int(current))
    return found
