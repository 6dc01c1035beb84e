"""`polymerge up`: the whole service in one terminal, until Ctrl-C."""

from contextlib import suppress

from clients.sdk.client import Polymerge
from clients.sdk.errors import PolymergeError
from clients.stack.stack import Stack
from clients.stack.stop_signals import stopping_on_signals

_WELCOME = """
Polymerge is ready: {url}   (documentation and a console: {url}/docs)
{models}
  polymerge import my-model --name base        # a folder in {sources}
  polymerge submit recipe.yaml --name merged   # merges, and waits for the end
  curl --data-binary @recipe.yaml '{url}/merges?name=merged'
  polymerge generate --model {example} --language fr "Bonjour, qui es-tu ?"
{elsewhere}Logs: {logs}   Stop: Ctrl-C"""
_SHOWN = 12


def run_up(stack: Stack) -> None:
    """Serve until a signal ends it. Raises StartError."""
    with suppress(KeyboardInterrupt), stopping_on_signals(stack):
        with stack:
            try:
                _serve(stack)
            except KeyboardInterrupt:
                stack.report("stopping (Ctrl-C again kills at once)")
        stack.report("stopped")


def _serve(stack: Stack) -> None:
    stack.report(f"starting on {stack.url}, data in {stack.data}, logs in {stack.logs}")
    stack.wait_ready()
    stack.report(_welcome(stack))
    stack.wait()


def _welcome(stack: Stack) -> str:
    try:
        names = _names(stack.url)
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        models = f"Models: {shown}" if names else "No models yet."
    except PolymergeError as error:
        names, models = [], str(error)
    return _WELCOME.format(
        url=stack.url,
        models=models,
        example=names[0] if names else "merged",
        sources=stack.sources,
        logs=stack.logs,
        elsewhere="" if stack.port == 8000 else f"  (commands need: export POLYMERGE_URL={stack.url})\n",
    )


def _names(url: str) -> list[str]:
    """Of the models there are, newest first. Raises PolymergeError, for want of an API key say."""
    with Polymerge(url) as service:
        return [model.name or model.id for model in service.models.page().items]
