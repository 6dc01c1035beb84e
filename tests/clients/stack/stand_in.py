"""Stands in for a part of the service, with a process tree as vLLM has one.

`stand_in.py NOTE [--stubborn]` starts a child in a session of its own, which starts another likewise; writes
all pids and its REDIS_URL to NOTE; and waits. A stubborn one, and its children, ignore SIGTERM.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_CHILD = """
import signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(grandchild.pid, flush=True)
time.sleep(1000)
"""


def main(note: Path, temper: str) -> None:
    if temper == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, temper], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    pids = [os.getpid(), child.pid, int(child.stdout.readline())]
    draft = note.with_suffix(".draft")
    draft.write_text(json.dumps({"pids": pids, "redis": os.environ["REDIS_URL"]}))
    draft.rename(note)
    time.sleep(1000)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
