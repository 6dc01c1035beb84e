"""What vLLM imports in each of its processes (entry point vllm.general_plugins)."""

import multiprocessing
import os

from workers.parent_death import die_with_parent

LAUNCHED_BY = "POLYMERGE_LAUNCHED_BY"
"""Set by the serve worker: its process id. Elsewhere vLLM runs as if this plugin were not installed."""


def register() -> None:
    """Tie the process to its parent, and register the load format that reads models of the store."""
    if LAUNCHED_BY not in os.environ:
        return
    parent = multiprocessing.parent_process()
    # vLLM leaves its engine and workers behind when the API server is killed (vllm issue 55510).
    die_with_parent(int(os.environ[LAUNCHED_BY]) if parent is None else parent.pid or 0)
    from vllm.model_executor.model_loader import get_supported_load_formats  # noqa: F401
