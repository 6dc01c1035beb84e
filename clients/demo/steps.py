"""A line for each step with its seconds, moving while the step runs: nobody wonders whether it hangs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

_LOG_EVERY_SECONDS = 10.0


class Step:
    """One step; `note` says what it is doing or waiting for right now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.note = ""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def text(self) -> str:
        note = f"  [dim]{escape(self.note)}[/dim]" if self.note else ""
        return f"{escape(self.title)}{note}"


class Steps:
    """A spinner on a terminal, a line now and then in a log; a line that stays for each finished step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        try:
            with self._moving(step):
                yield step
        except BaseException:
            self._line("[red]✗[/red]", step)
            raise
        self._line("[green]✓[/green]", step)

    def say(self, line: str) -> None:
        """Something between the lines, such as news of the stack."""
        self._console.print(f"  {line}", style="dim", markup=False)

    def _line(self, mark: str, step: Step) -> None:
        self._console.print(f"{mark} {step.seconds:6.1f} s  {step.text()}")

    @contextmanager
    def _moving(self, step: Step) -> Iterator[None]:
        if self._console.is_terminal:
            spinner = Spinner("dots")
            with Live(get_renderable=lambda: _row(spinner, step), console=self._console, transient=True):
                yield
            return
        self._console.print(f"… {step.text()}")
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(step, over), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()

    def _tick(self, step: Step, over: threading.Event) -> None:
        while not over.wait(_LOG_EVERY_SECONDS):
            self._console.print(f"… {step.seconds:6.1f} s  {step.text()}")


def _row(spinner: Spinner, step: Step) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(spinner, f"{step.seconds:6.1f} s ", step.text())
    return row
