"""External harnesses, run as their users run them, against the service of all tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clients.demo.assets import BASE
from tests.builders.running_service import Running

EXPERT = "general"
_TASKS = Path(__file__).parent / "tasks"


@pytest.fixture
def pinned(service: Running) -> str:
    """What /v1 is beside, for the base model alone."""
    return f"{service.api.base_url}/models/{BASE}"


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
