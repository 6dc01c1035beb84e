"""A running service for all harnesses: the demo's base model and one expert, on one engine that swaps."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.demo.assets import BASE, EXPERTS, Assets
from clients.demo.register import register_base, register_expert
from clients.demo.steps import Step
from tests.e2e.conftest import Running, start, stop

EXPERT = "general"
_TASKS = Path(__file__).parent / "tasks"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("harness"))
    try:
        sources = running.data / "sources"
        register_base(running.api, sources, Assets(), Step("register"))
        register_expert(running.api, sources, Assets(), next(e for e in EXPERTS if e.alias == EXPERT))
        yield running
        stop(running, signal.SIGTERM)
    finally:
        running.process.kill()
        running.api.close()


@pytest.fixture
def pinned(stack: Running) -> str:
    """What /v1 is beside, for the base model alone."""
    return f"{stack.api.base_url}/models/{BASE}"


def run_harness(*command: str, cwd: Path, **environment: str) -> str:
    """Run it in a copy of the tasks, without any network; what it printed."""
    shutil.copytree(_TASKS, cwd, dirs_exist_ok=True)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(cwd / "hf")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **offline, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
