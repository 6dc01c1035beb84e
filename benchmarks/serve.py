"""From recipe to answer, beside mergekit and vLLM used by hand: prints a table.

    .venv/bin/python benchmarks/serve.py --mergekit oracle/bin/python

On the demo's models (SmolLM2-135M and two of its experts) in a folder (--folder, kept for the next run). In
one run: recipe to first token, swaps, throughput and latency through the gateway and of the same vLLM asked
directly, and twelve virtual recipes asked in six languages beside a restart of vLLM for each.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import fresh_vllm
import httpx2
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from clients import Polymerge
from clients.demo.assets import BASE, EXPERTS, LANGUAGES, Assets
from clients.demo.register import register_base, register_expert
from clients.demo.scoring import load_prompts
from clients.demo.steps import Step
from clients.stack.ports import claim_port
from clients.stack.stack import Stack
from service.engines.keys import SERVED_NAME

INGREDIENTS = ("safety", "general")
RECIPES, PROMPTS, TOKENS, ROUNDS = 12, 10, 16, 7
LOAD_TOKENS, SPREAD, LATENCIES, TURNS = 24, 12, 100, 3


Side = tuple[str, str]
"""A server's address, and what it calls the model."""


@dataclass(frozen=True)
class ByHand:
    """Seconds that one recipe takes with mergekit-yaml and a vLLM started on what it wrote."""

    merging: float
    starting: float
    first_token: float
    asking: float
    """Every prompt of every language, all at once."""


def main() -> None:
    arguments = _arguments()
    table = Table("", "ours", "by hand", "ratio", "goal", title="SmolLM2-135M", title_justify="left")
    prompts = {
        language: [row.prompt for row in load_prompts(Assets().prompts, language)] for language in LANGUAGES
    }
    with running(arguments.folder) as (service, folders):
        service.generate(BASE, "Hello", max_tokens=1)
        by_hand = do_by_hand(folders, arguments, prompts)
        first_token(service, by_hand, table)
        gateway(service, [text for texts in prompts.values() for text in texts], table)
        recipes_by_languages(service, by_hand, prompts, table)
    Console(width=140).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/polymerge-serve-benchmark"))
    parser.add_argument("--mergekit", type=Path, required=True, help="an interpreter that has mergekit")
    return parser.parse_args()


@contextmanager
def running(data: Path) -> Iterator[tuple[Polymerge, dict[str, Path]]]:
    """The service, with base and ingredients as checkpoints that mergekit can read; and their folders."""
    with Stack(data, port=0) as stack:
        stack.wait_ready(300)
        with Polymerge(stack.url) as service:
            step = Step("register")
            register_base(service, stack.sources, Assets(), step)
            for expert in EXPERTS:
                if expert.alias in INGREDIENTS:
                    register_expert(service, stack.sources, Assets(), expert)
            for name in INGREDIENTS:
                alone = {"merge_method": "passthrough", "models": [{"model": name}], "dtype": "bfloat16"}
                service.merge(alone, name=f"{name}-whole")
            models = stack.data / "store" / "models"
            names = [BASE, *(f"{name}-whole" for name in INGREDIENTS)]
            yield service, {name: models / service.models.get(name).id for name in names}


def slerp(t: float) -> dict[str, Any]:
    safety, general = (f"{name}-whole" for name in INGREDIENTS)
    models = [{"model": safety}, {"model": general}]
    recipe = {"merge_method": "slerp", "base_model": safety, "models": models, "dtype": "bfloat16"}
    return recipe | {"parameters": {"t": t}}


def do_by_hand(
    folders: dict[str, Path], arguments: argparse.Namespace, prompts: dict[str, list[str]]
) -> ByHand:
    merged, merging = fresh_vllm.merge(arguments.mergekit, slerp(0.5), folders, arguments.folder)
    with fresh_vllm.server(merged, claim_port("127.0.0.1", 0), arguments.folder) as (url, starting):
        first = fresh_vllm.ask(url, ["Hello"], 1)
        asking = fresh_vllm.ask(url, [text for texts in prompts.values() for text in texts[:PROMPTS]], TOKENS)
    return ByHand(merging, starting, first, asking)


def first_token(service: Polymerge, by_hand: ByHand, table: Table) -> None:
    """From recipes that nobody has sent before; on either side with all sources in the page cache."""
    new = time.time_ns() % 1_000_000 / 1e8
    seconds = []
    for number in range(ROUNDS + 1):
        # An engine that has just answered is left to its client for a moment.
        time.sleep(1)
        began = time.monotonic()
        model = service.merge(slerp(0.3 + number / 10 + new), materialize=False)
        service.generate(model.id, "Hello", max_tokens=1)
        seconds.append(time.monotonic() - began)
    # The first one reads its sources through, to see whether they are as they were when they were registered.
    ours = median(seconds[1:])
    theirs = by_hand.merging + by_hand.starting + by_hand.first_token
    row(table, "recipe to first token, s", ours, theirs, theirs / ours, ">= 30")
    row(table, "  by hand: mergekit-yaml, then vLLM's start, s", by_hand.merging, by_hand.starting)
    row(table, "  ours on first use of new sources, s", seconds[0])
    swaps = [second for engine in service.engines() for second in engine.swap_seconds]
    row(table, f"swap, median of {len(swaps)}, s", median(swaps), goal="<= 1.5")


def gateway(service: Polymerge, texts: Sequence[str], table: Table) -> None:
    """The same vLLM through the gateway and directly, by turns."""
    engine = next(item for item in service.engines() if item.state == "ready")
    ours, theirs = (service.base_url, str(engine.model)), (str(engine.url), SERVED_NAME)
    for concurrency, spread in ((16, SPREAD), (32, SPREAD), (16, 0)):
        measure = partial(throughput, texts=texts, concurrency=concurrency, spread=spread)
        by_turns(ours, theirs, measure, 1)
        rounds = by_turns(ours, theirs, measure, ROUNDS)
        ratio = median(mine / peer for mine, peer in zip(*rounds, strict=True))
        title = (
            f"tokens/s at concurrency {concurrency}"
            if spread
            else "  the same at 16, all answers of one length"
        )
        row(table, title, median(rounds[0]), median(rounds[1]), ratio, ">= 0.97")
    mine, peer = (1000 * median(side) for side in by_turns(ours, theirs, latency, LATENCIES))
    row(table, "median latency of one token alone, ms", mine, peer, goal="+5 ms at most")


def by_turns(
    ours: Side, theirs: Side, measure: Callable[[str, str], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Either side goes first as often as the other, so that a machine that slows down favours neither."""
    found: dict[Side, list[float]] = {ours: [], theirs: []}
    for number in range(rounds):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            found[side].append(measure(*side))
    return found[ours], found[theirs]


def throughput(url: str, model: str, texts: Sequence[str], concurrency: int, spread: int) -> float:
    """Tokens a second, over as many requests as `concurrency` clients send in a few turns.

    Answers are up to `spread` tokens shorter or longer than the mean, as those that end by themselves are.
    When all are of one length, all clients wait and ask at the same moments.
    """
    lengths = {text: LOAD_TOKENS - spread + crc32(text.encode()) % (2 * spread + 1) for text in texts}
    chosen = [(text, lengths[text]) for text in texts[: TURNS * concurrency]]
    return asyncio.run(_throughput(url, model, chosen, concurrency))


async def _throughput(url: str, model: str, asked: Sequence[tuple[str, int]], concurrency: int) -> float:
    waiting = iter(asked)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=600) as client:

        async def client_of_many() -> None:
            for text, tokens in waiting:
                (await client.post("/v1/completions", json=body(model, text, tokens))).raise_for_status()

        began = time.monotonic()
        await asyncio.gather(*(client_of_many() for _ in range(concurrency)))
        return sum(tokens for _, tokens in asked) / (time.monotonic() - began)


def latency(url: str, model: str) -> float:
    """Of one token: what the gateway adds does not grow with the answer; what disturbs the measuring does."""
    request = body(model, "Once upon a time", 1)
    began = time.monotonic()
    httpx2.post(f"{url}/v1/completions", json=request, timeout=600, trust_env=False).raise_for_status()
    return time.monotonic() - began


def body(model: str, text: str, tokens: int) -> dict[str, Any]:
    return {"model": model, "prompt": text, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


def recipes_by_languages(
    service: Polymerge, by_hand: ByHand, prompts: dict[str, list[str]], table: Table
) -> None:
    """All of ours; by hand one recipe, times their number."""
    sweep = {"parameters.t": [round(0.05 + 0.07 * number, 2) for number in range(RECIPES)]}
    began = time.monotonic()
    submitted = service.merges.submit_all({**slerp(0.5), "sweep": sweep}, materialize=False)
    for item in submitted.items:
        generate_all(service, item.model, prompts)
    ours = time.monotonic() - began
    restarts = RECIPES * (by_hand.starting + by_hand.asking)
    theirs = restarts + RECIPES * by_hand.merging
    title = f"{RECIPES} recipes x {len(LANGUAGES)} languages x {PROMPTS} prompts, s"
    row(table, f"{title} (by hand: 1 measured, x {RECIPES})", ours, theirs, theirs / ours, ">= 8")
    row(table, "  the same without what mergekit takes", ours, restarts, restarts / ours)


def generate_all(service: Polymerge, model: str, prompts: dict[str, list[str]]) -> None:
    """A request for each language, all at once."""

    def one(language: str) -> None:
        service.generate(
            model, prompts[language][:PROMPTS], language=language, temperature=0, max_tokens=TOKENS
        )

    with ThreadPoolExecutor(len(prompts)) as threads:
        list(threads.map(one, prompts))


def row(
    table: Table,
    title: str,
    ours: float,
    theirs: float | None = None,
    ratio: float | None = None,
    goal: str = "",
) -> None:
    numbers = ["" if number is None else f"{number:.2f}" for number in (ours, theirs, ratio)]
    table.add_row(title, *numbers, goal)
    print(title, *numbers, goal, flush=True)


if __name__ == "__main__":
    main()
