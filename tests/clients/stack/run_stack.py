"""A stack of two stand-ins in a process of its own, as `polymerge up` is: `run_stack.py DATA`."""

import sys
from contextlib import suppress
from pathlib import Path

from clients.stack.part import Part
from clients.stack.stack import Stack
from clients.stack.stop_signals import stopping_on_signals

STAND_IN = Path(__file__).with_name("stand_in.py")
TEMPERS = ("gentle", "stubborn")


def make_part(data: Path, temper: str) -> Part:
    return Part(temper, (sys.executable, str(STAND_IN), str(note(data, temper)), temper))


def note(data: Path, temper: str) -> Path:
    """Where the stand-in writes about itself."""
    return data / f"{temper}.json"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    stack = Stack(folder, port=0, parts=[make_part(folder, temper) for temper in TEMPERS])
    with suppress(KeyboardInterrupt), stopping_on_signals(stack), stack:
        stack.wait()
