"""`polymerge up`: the whole service in one terminal, until Ctrl-C."""

from contextlib import suppress

from clients.stack import Stack
from clients.stop_signals import stopping_on_signals

_WELCOME = """
Polymerge is ready: {url}   (documentation and a console: {url}/docs)
  polymerge import my-model --name base        # a folder in {sources}
  curl {url}/models
  curl --data-binary @recipe.yaml '{url}/merges?name=merged'
  polymerge submit recipe.yaml --name merged   # the same, and waits for the end
  polymerge generate --model merged --language fr "Bonjour, qui es-tu ?"
Logs: {logs}   Stop: Ctrl-C"""


def run_up(stack: Stack) -> None:
    """Serve until a signal ends it. Raises StartError."""
    with suppress(KeyboardInterrupt), stopping_on_signals(stack), stack:
        stack.report(f"starting on {stack.url}, data in {stack.data}, logs in {stack.logs}")
        stack.wait_ready()
        stack.report(_WELCOME.format(url=stack.url, sources=stack.sources, logs=stack.logs))
        stack.wait()
