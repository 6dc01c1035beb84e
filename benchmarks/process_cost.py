"""What a process costs from its start to its end."""

import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.02


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    anonymous_bytes: int
    """The most that was seen of memory besides mapped files."""


def cost_of(command: list[str]) -> Cost:
    """Ends this program with what `command` said if that fails."""
    start, cpu, peak = time.monotonic(), _cpu_seconds(), 0
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _anonymous_bytes(process.pid))
            time.sleep(_EVERY_SECONDS)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command[0]} failed with {process.returncode}:\n{said.read().decode()}")
    return Cost(time.monotonic() - start, _cpu_seconds() - cpu, peak)


def _cpu_seconds() -> float:
    """Of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
