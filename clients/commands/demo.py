"""`polymerge demo`."""

import typer

from clients.commands.options import DEFAULT_DATA, RUN, Data, Host, Port, examples
from clients.demo.assets import Assets
from clients.demo.story import run_demo


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=RUN, epilog=examples("polymerge demo", "polymerge demo --data /tmp/demo"))(
        demo
    )


def demo(data: Data = DEFAULT_DATA, host: Host = "127.0.0.1", port: Port = 0) -> None:
    """Show the main job on real weights: import, merge by objective and by language, ask in six languages.

    Needs a clone of the repository. The second run finds its models in the data folder.
    """
    run_demo(data, host, port, Assets())
