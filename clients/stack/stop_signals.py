"""Ctrl-C, SIGTERM and a closed terminal stop a stack in good order; asked twice, at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clients.stack.stack import Stack

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping_on_signals(stack: Stack) -> Iterator[None]:
    """The first signal begins the stop and raises KeyboardInterrupt in the main thread."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stack.stopping:
            stack.kill()
        else:
            stack.request_stop()
            raise KeyboardInterrupt

    # Under nohup SIGHUP is ignored, and is to stay so.
    wanted = [number for number in _SIGNALS if number != signal.SIGHUP or not _is_ignored(number)]
    previous = {number: signal.signal(number, on_signal) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
