"""Options that several commands share, the groups of the help, and how it shows examples."""

from pathlib import Path
from typing import Annotated

import typer

RUN = "Run the service"
MERGE = "Merge"
REGISTRY = "Keep models"
ASK = "Ask"
GUARD = "Guard the service"

DEFAULT_DATA = Path(".polymerge")

Url = Annotated[
    str, typer.Option("--url", envvar="POLYMERGE_URL", help="Address of the service.", metavar="URL")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Data = Annotated[
    Path,
    typer.Option(
        "--data", envvar="POLYMERGE_DATA", help="Folder that keeps models, Redis and logs.", file_okay=False
    ),
]
Sources = Annotated[
    Path | None,
    typer.Option(
        "--sources",
        envvar="POLYMERGE_SOURCES",
        help="Folder that imports come from; DATA/sources when not given.",
        file_okay=False,
    ),
]
Host = Annotated[str, typer.Option("--host", envvar="POLYMERGE_HOST", help="Address to listen on.")]
Port = Annotated[
    int,
    typer.Option("--port", envvar="POLYMERGE_PORT", help="Port; 0 takes a free one.", min=0, max=65535),
]
RedisUrl = Annotated[str, typer.Option("--redis", envvar="REDIS_URL", help="The Redis that all parts share.")]


def examples(*lines: str) -> str:
    """An epilog: one example a line."""
    return "\n".join(["Examples:", *(f"  {line}".replace("[", r"\[") for line in lines)])
