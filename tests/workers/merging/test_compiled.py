"""The second process finds the first one's machine code, and starts without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import torch
from workers.merging import kernels

result = kernels.add_weighted([torch.ones(2, 3), torch.ones(2, 3)], None, [0.25, 0.5])
assert (result == 0.75).all()
print("numba.np.arraymath" in sys.modules)
"""


def made_the_compiler_ready(cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True).strip()


def test_machine_code_that_is_at_hand_needs_no_compiler(tmp_path: Path) -> None:
    assert [made_the_compiler_ready(tmp_path) for _ in range(2)] == ["True", "False"]
