"""`polymerge demo`: the main job on real weights, from an empty folder to answers in six languages.

It starts the service, registers a base model and nine experts, merges two experts by objective (SLERP) and
six by language (TIES), asks the experts and both merges the held-out prompts, and prints what it counted. One
engine serves them all: its weights are swapped in place.
"""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from clients.demo.assets import BASELINE, EXPERTS, MERGES, Assets
from clients.demo.questions import Answers, ask_all, await_loaded, loading
from clients.demo.register import await_merge, register_base, register_expert, submit_merges
from clients.demo.report import print_report
from clients.demo.steps import Steps
from clients.sdk.client import Polymerge
from clients.stack.stack import Stack
from clients.stack.stop_signals import stopping_on_signals

_LOG_WIDTH = 120
_START_SECONDS = 180.0


def run_demo(data: Path, host: str, port: int, assets: Assets) -> None:
    """Raises StartError, PolymergeError; KeyboardInterrupt after a signal. Leaves nothing running."""
    assets.check()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _LOG_WIDTH
    steps = Steps(console)
    stack = Stack(data, host, port, report=steps.say)
    with stopping_on_signals(stack):
        try:
            found = _play(stack, assets, steps)
        finally:
            with steps.step("stop every process"):
                stack.stop()
    print_report(console, found)
    _print_how_to_go_on(console, data, steps)


def _play(stack: Stack, assets: Assets, steps: Steps) -> dict[str, dict[str, Answers]]:
    with steps.step("start Redis, gateway, merge worker and serve worker") as step:
        stack.start()
        stack.wait_ready(_START_SECONDS)
        step.note = stack.url
    with Polymerge(stack.url) as service:
        with steps.step("import the base model, SmolLM2-135M-Instruct (GGUF)") as step:
            register_base(service, stack.sources, assets, step)
        with steps.step(f"import the expert {BASELINE}, the baseline (LoRA adapter)") as step:
            new = register_expert(service, stack.sources, assets, EXPERTS[0])
            step.note = "" if new else "is there already"
        # The engine takes long to start: it does so while the other models are made.
        with loading(service, BASELINE) as load:
            _make_models(service, stack.sources, assets, steps)
            with steps.step(f"start an engine with {BASELINE}") as step:
                await_loaded(service, load, step)
        models = [*(expert.alias for expert in EXPERTS), *MERGES]
        return {model: _ask(service, model, assets, steps) for model in models}


def _make_models(service: Polymerge, sources: Path, assets: Assets, steps: Steps) -> None:
    with steps.step(f"import {len(EXPERTS) - 1} more experts") as step:
        new = 0
        for number, expert in enumerate(EXPERTS[1:], 1):
            step.note = f"{expert.alias}, {number} of {len(EXPERTS) - 1}"
            new += register_expert(service, sources, assets, expert)
        step.note = f"{new} new" if new else "all are there already"
    merges = submit_merges(service, assets)
    for alias, work in merges.items():
        with steps.step(f"merge {alias}") as step:
            await_merge(service, work, step)


def _ask(service: Polymerge, model: str, assets: Assets, steps: Steps) -> dict[str, Answers]:
    with steps.step(f"swap to {model} and ask it the held-out prompts") as step:
        return ask_all(service, model, assets, step)


def _print_how_to_go_on(console: Console, data: Path, steps: Steps) -> None:
    command = shlex.join([sys.argv[0], "up", "--data", str(data)])
    request = '{"model": "language-ties", "language": "fr", "prompt": "Bonjour, qui es-tu ?"}'
    console.print(f"\nDone in {steps.seconds:.0f} s. The models stay in {data}. To go on:", markup=False)
    for line in (
        command,
        f"curl http://127.0.0.1:8000/generate -H 'Content-Type: application/json' -d '{request}'",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
