"""Time and memory of merges, beside mergekit's and beside copying the result: prints a table.

    .venv/bin/python benchmarks/merge.py                              # ours alone
    .venv/bin/python benchmarks/merge.py --mergekit oracle/bin/python # and mergekit, in its environment

Makes a base and three experts in a folder (--folder, kept for the next run): Llama-shaped, bfloat16, shards
of 1 GB, 1.1 billion parameters with 22 layers (--layers). Every merge is a process of its own, its start
included; the first of ours, told apart, also reads all models for their digests, which are kept. Anonymous
memory is what the process holds besides mapped files.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from process_cost import Cost, cost_of
from synthetic_models import MODELS, Llama, make_models


def experts(*names: str, **parameters: float) -> list[dict[str, Any]]:
    return [{"model": name, "parameters": parameters} for name in names]


RECIPES: dict[str, dict[str, Any]] = {
    "first": {
        "merge_method": "linear",
        "models": experts(*MODELS, weight=1.0),
    },
    "linear": {"models": experts(*MODELS[1:], weight=1.0)},
    "slerp": {"base_model": "a", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"t": 0.5}},
    "ties": {"base_model": "base", "models": experts(*MODELS[1:], weight=1.0, density=0.5)},
    "dare_ties": {"base_model": "base", "models": experts(*MODELS[1:], weight=1.0, density=0.5)},
}
_TIMES = 3
"""That each program runs, in turn; the median counts."""
_LONG = 60
"""Seconds that mergekit is not asked for again."""


def main() -> None:
    arguments = _arguments()
    make_models(
        arguments.folder,
        Llama(
            hidden=2048, inner=5632, vocabulary=32000, layers=arguments.layers, heads=32, key_value_heads=4
        ),
    )
    print(f"copy of one model: {time_of_copy(arguments.folder):.1f} s")
    first = measure(our_command(write_recipe("first", arguments.folder), arguments.threads), arguments.folder)
    print(f"first merge, linear of all four: {first.seconds:.1f} s")
    print(
        f"{'recipe':<12}{'ours s':>9}{'anon MB':>9}"
        + (f"{'mergekit s':>12}{'anon MB':>9}{'ratio':>7}" if arguments.mergekit else "")
    )
    for name in arguments.recipes:
        recipe = write_recipe(name, arguments.folder)
        ours, theirs = list[Cost](), list[Cost]()
        for _ in range(_TIMES):
            ours.append(measure(our_command(recipe, arguments.threads), arguments.folder))
            if arguments.mergekit and (not theirs or theirs[0].seconds < _LONG):
                theirs.append(measure(_mergekit_command(recipe, arguments), arguments.folder))
        line = f"{name:<12}{_seconds(ours):>9.1f}{_megabytes(ours):>9.0f}"
        if theirs:
            line += f"{_seconds(theirs):>12.1f}{_megabytes(theirs):>9.0f}"
            line += f"{_seconds(theirs) / _seconds(ours):>6.1f}x"
        print(line, flush=True)


def _seconds(runs: list[Cost]) -> float:
    return median(run.seconds for run in runs)


def _megabytes(runs: list[Cost]) -> float:
    return max(run.anonymous_bytes for run in runs) / 1e6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/polymerge-benchmark"))
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recipes", nargs="+", choices=sorted(RECIPES), default=list(RECIPES)[1:])
    parser.add_argument("--mergekit", type=Path, help="an interpreter that has mergekit")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve() / f"{arguments.layers}-layers"
    return arguments


def write_recipe(name: str, folder: Path) -> Path:
    """One file for both programs."""
    path = folder / "recipe.yaml"
    recipe = {"merge_method": name, "dtype": "bfloat16", **RECIPES[name]}
    path.write_text(yaml.safe_dump(with_paths(recipe, folder)))
    return path


def time_of_copy(folder: Path) -> float:
    start = time.monotonic()
    shutil.copytree(folder / "base", folder / "copy")
    seconds = time.monotonic() - start
    shutil.rmtree(folder / "copy")
    return seconds


def measure(command: list[str], folder: Path) -> Cost:
    """The cost of a merge into `folder`/out, which is removed again."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    cost = cost_of(command)
    shutil.rmtree(folder / "out")
    return cost


def our_command(recipe: Path, threads: int, device: str = "cpu") -> list[str]:
    program = Path(sys.executable).parent / "polymerge"
    options = ["--threads", str(threads), "--device", device]
    return [str(program), "merge", str(recipe), str(recipe.parent / "out"), *options]


def _mergekit_command(recipe: Path, arguments: argparse.Namespace) -> list[str]:
    program = arguments.mergekit.absolute().parent / "mergekit-yaml"
    options = ["--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    return [str(program), str(recipe), str(recipe.parent / "out"), *options]


def with_paths(node: Any, folder: Path) -> Any:
    if isinstance(node, list):
        return [with_paths(item, folder) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: str(folder / value) if key in ("model", "base_model") else with_paths(value, folder)
        for key, value in node.items()
    }


if __name__ == "__main__":
    main()
