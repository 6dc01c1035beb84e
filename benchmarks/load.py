"""Many clients at once, for minutes: what the gateway answers, how soon, and what memory it takes.

    .venv/bin/python benchmarks/load.py --seconds 300

Starts the service on the demo's model in a folder (--folder, kept for the next run). Every client sends its
next request when it has the answer to the last; readers may pause before that (--pause). Ends with 1 if an
answer was an error of the server, or lost.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from clients import Polymerge
from clients.demo.assets import BASE, LANGUAGES, Assets
from clients.demo.register import register_base
from clients.demo.steps import Step
from clients.stack.stack import Stack

READS = (
    "/models", f"/models/{BASE}", f"/models/{BASE}/lineage", "/v1/models", "/jobs", "/merges", "/engines",
    "/aliases", "/methods", "/languages", "/store", "/readyz", "/metrics", "/openapi.json",
)  # fmt: skip
TOKENS = 8
MEGABYTE = 1e6
_SAMPLE_SECONDS = 1.0


@dataclass
class Findings:
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By route, of whole answers."""
    statuses: Counter[str] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)
    """The gateway's memory in bytes, over time."""

    @property
    def failures(self) -> int:
        return sum(count for status, count in self.statuses.items() if not status.startswith(("2", "4")))


def main() -> None:
    arguments = _arguments()
    with Stack(arguments.folder, port=0) as stack:
        stack.wait_ready(300)
        with Polymerge(stack.url) as service:
            register_base(service, stack.sources, Assets(), Step("register"))
            service.generate(BASE, "Hello", max_tokens=1)
        gateway = psutil.Process(stack.pids()["gateway"])
        findings = asyncio.run(load(stack.url, gateway, arguments))
    Console(width=100).print(report(findings, arguments.seconds))
    sys.exit(1 if findings.failures else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/polymerge-load-benchmark"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--askers", type=int, default=64)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between a reader's requests")
    return parser.parse_args()


async def load(url: str, gateway: psutil.Process, arguments: argparse.Namespace) -> Findings:
    findings = Findings()
    until = time.monotonic() + arguments.seconds
    timeout = aiohttp.ClientTimeout(total=600)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        pause = arguments.pause
        readers = [_reader(session, number, until, pause, findings) for number in range(arguments.readers)]
        askers = [_asker(session, number, until, findings) for number in range(arguments.askers)]
        await asyncio.gather(_watch(gateway, until, findings), *readers, *askers)
    return findings


async def _reader(
    session: aiohttp.ClientSession, number: int, until: float, pause: float, findings: Findings
) -> None:
    # So that they don't all come at once.
    await asyncio.sleep(random.random() * pause)
    turn = number % len(READS)
    for path in cycle(READS[turn:] + READS[:turn]):
        if time.monotonic() > until:
            return
        await _time(f"GET {path.replace(BASE, '{id}')}", _get(session, path), findings)
        await asyncio.sleep(pause)


async def _asker(session: aiohttp.ClientSession, number: int, until: float, findings: Findings) -> None:
    """Half of them follow a stream."""
    language = LANGUAGES[number % len(LANGUAGES)]
    messages = [{"role": "user", "content": f"Tell me about the number {number}."}]
    chat = {"model": f"{BASE}@{language}", "messages": messages, "max_tokens": TOKENS, "stream": True}
    ask = {"model": BASE, "language": language, "prompt": "Hello?", "max_tokens": TOKENS}
    path, body = ("/v1/chat/completions", chat) if number % 2 else ("/generate", ask)
    while time.monotonic() < until:
        await _time(f"POST {path}", _post(session, path, body), findings)


async def _get(session: aiohttp.ClientSession, path: str) -> int:
    async with session.get(path) as answer:
        await answer.read()
        return answer.status


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, object]) -> int:
    async with session.post(path, json=body) as answer:
        await answer.read()
        return answer.status


async def _time(route: str, status: Awaitable[int], findings: Findings) -> None:
    began = time.monotonic()
    try:
        found = str(await status)
    except (aiohttp.ClientError, TimeoutError) as error:
        found = type(error).__name__
    findings.seconds[route].append(time.monotonic() - began)
    findings.statuses[found] += 1


async def _watch(gateway: psutil.Process, until: float, findings: Findings) -> None:
    while time.monotonic() < until:
        findings.resident.append(gateway.memory_info().rss)
        await asyncio.sleep(_SAMPLE_SECONDS)


def report(findings: Findings, seconds: float) -> Table:
    table = Table("", "requests/s", "p50, ms", "p99, ms", title="Load", title_justify="left")
    reads = [second for route, all_ in findings.seconds.items() if route in _read_routes() for second in all_]
    _row(table, "all reads", reads, seconds)
    for route, found in sorted(findings.seconds.items()):
        _row(table, f"  {route}", found, seconds)
    table.add_section()
    for status, count in sorted(findings.statuses.items()):
        table.add_row(f"answers: {status}", str(count))
    table.add_section()
    fifth = max(1, len(findings.resident) // 5)
    for name, part in (
        ("gateway's memory, MB: at the beginning", findings.resident[:1]),
        ("  second fifth of the time", findings.resident[fifth : 2 * fifth]),
        ("  last fifth", findings.resident[-fifth:]),
        ("  most", [max(findings.resident)]),
    ):
        table.add_row(name, f"{median(part) / MEGABYTE:.0f}")
    return table


def _read_routes() -> set[str]:
    return {f"GET {path.replace(BASE, '{id}')}" for path in READS}


def _row(table: Table, name: str, found: list[float], seconds: float) -> None:
    centiles = [1000 * second for second in quantiles(found, n=100, method="inclusive")]
    table.add_row(name, f"{len(found) / seconds:.1f}", f"{centiles[49]:.0f}", f"{centiles[98]:.0f}")


if __name__ == "__main__":
    main()
