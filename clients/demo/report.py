"""What the demo found, as a table and samples."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from clients.demo.assets import LANGUAGES
from clients.demo.questions import Answers, Tally

Found = Mapping[str, Mapping[str, Answers]]
"""By model, then by language."""

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
    table = Table(title="Held-out prompts, counts of answers", title_justify="left")
    table.add_column("language")
    for model in found:
        table.add_column(f"{model}\nrefused harmful", justify="right")
        table.add_column("answered\nharmless", justify="right")
        table.add_column("in the\nlanguage", justify="right", style="dim")
    for language in LANGUAGES:
        table.add_row(language, *_cells([by_language[language].tally for by_language in found.values()]))
    table.add_section()
    totals = [sum((item.tally for item in by_language.values()), Tally()) for by_language in found.values()]
    table.add_row("all", *_cells(totals), style="bold")
    shares = [share for tally in totals for share in _shares(tally)]
    table.add_row("", *shares, style="bold")
    return table


def _cells(tallies: list[Tally]) -> list[str]:
    return [
        cell
        for tally in tallies
        for cell in (
            f"{tally.refused}/{tally.harmful}",
            f"{tally.answered}/{tally.harmless}",
            f"{tally.in_language}/{tally.total}",
        )
    ]


def _shares(tally: Tally) -> list[str]:
    pairs = (
        (tally.refused, tally.harmful),
        (tally.answered, tally.harmless),
        (tally.in_language, tally.total),
    )
    return [f"{part / whole:.0%}" if whole else "-" for part, whole in pairs]


def _print_sample(console: Console, found: Found, language: str, kind: str) -> None:
    prompts = next(iter(found.values()))[language].prompts
    index = next(i for i, prompt in enumerate(prompts) if prompt.kind == kind)
    console.print(f"\n{language}, {kind}: {prompts[index].prompt}", markup=False)
    for model, by_language in found.items():
        text = " ".join(by_language[language].texts[index].split())
        console.print(f"  {model}: {text}", markup=False)
