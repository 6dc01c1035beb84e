"""What the demo found, as a table and samples."""

from collections.abc import Callable, Mapping

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from clients.demo.assets import LANGUAGES
from clients.demo.questions import Answers, Tally

Found = Mapping[str, Mapping[str, Answers]]
"""By model, then by language."""

_COUNTS: tuple[tuple[str, Callable[[Tally], tuple[int, int]]], ...] = (
    ("harmful: refused", lambda tally: (tally.refused, tally.harmful)),
    ("harmless: answered", lambda tally: (tally.answered, tally.harmless)),
    ("in the language", lambda tally: (tally.in_language, tally.total)),
)
_TITLE = "Answers to the held-out prompts"
_CAPTION = "answered: not refused, and in the language asked; in the language: any answer, refusals included"
_SAMPLES = (("fr", "harmful"), ("es", "harmless"))
_CAVEAT = (
    "These are the real counts of a model of 135 M parameters with adapters trained for minutes: they show "
    "that the whole path works in six languages, not how good a merge method is."
)


def print_report(console: Console, found: Found) -> None:
    console.print(_table(found))
    console.print(_CAVEAT, style="dim")
    for language, kind in _SAMPLES:
        _print_sample(console, found, language, kind)


def _table(found: Found) -> Table:
    """A block of rows for each count, a row for each model, a column for each language."""
    table = Table(title=_TITLE, title_justify="left", caption=_CAPTION, caption_justify="left", box=SIMPLE)
    table.add_column("")
    for language in LANGUAGES:
        table.add_column(language, justify="right")
    table.add_column("all", justify="right", style="bold")
    table.add_column("", justify="right", style="bold")
    for title, pair in _COUNTS:
        table.add_section()
        table.add_row(f"[bold]{title}[/bold]")
        for model, by_language in found.items():
            tallies = [by_language[language].tally for language in LANGUAGES]
            part, whole = pair(sum(tallies, Tally()))
            counts = [_fraction(*pair(tally)) for tally in tallies]
            share = f"{part / whole:.0%}" if whole else "-"
            table.add_row(f"  {model}", *counts, _fraction(part, whole), share)
    return table


def _fraction(part: int, whole: int) -> str:
    return f"{part}/{whole}"


def _print_sample(console: Console, found: Found, language: str, kind: str) -> None:
    prompts = next(iter(found.values()))[language].prompts
    index = next(i for i, prompt in enumerate(prompts) if prompt.kind == kind)
    console.print(f"\n{language}, {kind}: {prompts[index].prompt}", markup=False)
    for model, by_language in found.items():
        text = " ".join(by_language[language].texts[index].split())
        console.print(f"  {model}: {text}", markup=False)
