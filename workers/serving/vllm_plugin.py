"""What vLLM imports in each of its processes (entry point vllm.general_plugins)."""

import os

from workers.parent_death import die_with_parent

LAUNCHED_BY = "POLYMERGE_LAUNCHED_BY"
"""Which process starts the next one, from the serve worker down. Unset: vLLM runs as if we were not here."""


def register() -> None:
    """Tie the process to its parent, and register the load format that reads models of the store."""
    if LAUNCHED_BY not in os.environ:
        return
    launcher = int(os.environ[LAUNCHED_BY])
    if launcher == os.getpid():
        return
    # vLLM leaves its engine and workers behind when the API server is killed (vllm issue 55510).
    die_with_parent(launcher)
    os.environ[LAUNCHED_BY] = str(os.getpid())
    from workers.serving.store_loader import register_load_format

    register_load_format()
