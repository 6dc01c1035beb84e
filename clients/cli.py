"""The command line, `polymerge`. Each command lives in clients/commands; errors become one line here."""

import errno
import sys
from importlib.metadata import version
from typing import Annotated, Any, Never

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from clients.commands import asking, audit, demo, engines, keys, local_merge, merging, models, registry, run
from clients.keys import KeysError
from clients.sdk.errors import PolymergeError
from clients.sources import SourceError
from clients.stack.start_error import StartError


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Anything that goes wrong for a reason is one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except (PolymergeError, SourceError, StartError, KeysError) as error:
            _fail(str(error), 1)
        except ValidationError as error:
            _fail("; ".join(_explain(item) for item in error.errors()), 2)
        except UnicodeDecodeError as error:
            _fail(f"not a text in UTF-8: {error.reason} at byte {error.start}", 1)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)


app = typer.Typer(
    cls=_Commands,
    help="Merge fine-tuned language models and talk to the result in every language.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("polymerge"))
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Without a command there is only the version to ask for; the help is the application's."""


for _group in (run, demo, local_merge, merging, models, registry, asking, engines, keys, audit):
    _group.register(app)


def _fail(text: str, code: int) -> Never:
    print(f"Error: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _explain(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
