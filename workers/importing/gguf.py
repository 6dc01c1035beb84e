"""Runs the conversion of a GGUF file beside the job, so that the job stays able to stop it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from service.recipes.refusal import refuse

_POLL_SECONDS = 0.25


def convert(file: Path, folder: Path, waiting: Callable[[], None]) -> None:
    """Write the checkpoint into `folder`. `waiting` is called several times a second, and may raise to stop.

    Raises Refused at /source/gguf when transformers can't convert the file, ChildProcessError when it died.
    """
    command = [
        sys.executable,
        # A folder `workers` where the user happens to be must not hide ours.
        "-P",
        "-m",
        "workers.importing.convert_gguf",
        str(file),
        str(folder),
        str(os.getpid()),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            errors = _wait(process, waiting)
        except BaseException:
            process.kill()
            raise
    if process.returncode < 0:
        raise ChildProcessError(f"the conversion was ended by signal {-process.returncode}; is memory short?")
    if process.returncode:
        reason = (errors.strip().splitlines() or ["no reason given"])[-1]
        raise refuse("source", "gguf", detail=f"transformers can't convert the file: {reason}")


def _wait(process: subprocess.Popen[str], waiting: Callable[[], None]) -> str:
    """What the process wrote to stderr."""
    while True:
        waiting()
        try:
            return process.communicate(timeout=_POLL_SECONDS)[1]
        except subprocess.TimeoutExpired:
            continue
