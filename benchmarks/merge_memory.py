"""Memory of merges, whatever the model's shape: prints a table.

    .venv/bin/python benchmarks/merge_memory.py

For each model (shallow: 4 layers in one file; deep: 32 in 27 files; vocabulary: an embedding of
256,000 x 4,096) it makes a base and two experts in a temporary folder, 9 GB at most with the result, merges
them by every method in a process of its own, and removes them again. Anonymous memory is what a process
holds besides mapped files; the table has how much more of it a merge needs than a Python that has only
imported torch.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from process_cost import Cost, cost_of
from synthetic_models import Llama, make_models

INGREDIENTS = ("base", "a", "b")
METHODS = ("linear", "slerp", "ties", "dare_ties", "della", "model_stock")
LLAMAS = {
    "shallow": Llama(1024, 4096, 8000, 4, 8, 2),
    "deep": Llama(1024, 4096, 8000, 32, 8, 2, shard_bytes=40_000_000),
    "vocabulary": Llama(4096, 4096, 256_000, 1, 32, 8, tied=True),
}


def main() -> None:
    arguments = _arguments()
    torch = cost_of([sys.executable, "-c", "import time, torch; time.sleep(0.2)"])
    print(f"Python with torch: {torch.anonymous_bytes / 1e6:.0f} MB")
    print(f"{'model':<12}{'method':<13}{'MB more':>8}{'s':>7}{'CPU s':>7}")
    for name in arguments.models:
        llama = LLAMAS[name]
        with tempfile.TemporaryDirectory(prefix="polymerge-memory-", dir=arguments.folder) as folder:
            make_models(Path(folder), llama, INGREDIENTS)
            for method in arguments.methods:
                cost = merge(method, Path(folder), llama, arguments.threads)
                more = (cost.anonymous_bytes - torch.anonymous_bytes) / 1e6
                print(
                    f"{name:<12}{method:<13}{more:>8.0f}{cost.seconds:>7.1f}{cost.cpu_seconds:>7.1f}",
                    flush=True,
                )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--models", nargs="+", choices=LLAMAS, default=list(LLAMAS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    return parser.parse_args()


def merge(method: str, folder: Path, llama: Llama, threads: int) -> Cost:
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(_recipe(method, folder)))
    options = ["--threads", str(threads), "--device", "cpu", "--shard-size", str(llama.shard_bytes)]
    cost = cost_of(
        [
            str(Path(sys.executable).with_name("polymerge")),
            "merge",
            str(recipe),
            str(folder / "out"),
            *options,
        ]
    )
    shutil.rmtree(folder / "out")
    return cost


def _recipe(method: str, folder: Path) -> dict[str, Any]:
    parameters = {
        "linear": {"weight": 0.5},
        "slerp": {"t": 0.5},
        "model_stock": {},
    }.get(method, {"weight": 0.5, "density": 0.5})
    base, a, b = (str(folder / model) for model in INGREDIENTS)
    recipe = {"merge_method": method, "dtype": "bfloat16", "parameters": parameters}
    if method == "slerp":
        return recipe | {"base_model": a, "models": [{"model": a}, {"model": b}]}
    if method == "linear":
        return recipe | {"models": [{"model": a}, {"model": b}]}
    return recipe | {"base_model": base, "models": [{"model": a}, {"model": b}]}


if __name__ == "__main__":
    main()
