"""The command line, `polymerge`. Each command lives in clients/commands; errors become one line here."""

import errno
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Never

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from clients.told import Told

_GROUPS = (
    "run", "demo", "local_merge", "merging", "models", "registry", "asking", "engines", "keys", "audit"
)  # fmt: skip


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Anything that goes wrong for a reason is one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except Told as error:
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


# A merge without a service needs none of the others, and waiting for them is a good part of a small one.
for _group in ["local_merge"] if sys.argv[1:2] == ["merge"] else _GROUPS:
    import_module(f"clients.commands.{_group}").register(app)


def _fail(text: str, code: int) -> Never:
    print(f"Error: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _explain(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
