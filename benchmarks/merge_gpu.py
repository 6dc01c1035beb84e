"""How fast a GPU merges, in GB/s, beside what this machine copies: prints a table.

    .venv/bin/python benchmarks/merge_gpu.py --folder /dev/shm/polymerge-benchmark

Makes three models of 8 billion parameters (--layers for less), Llama-shaped, bfloat16, 16 GB each, on the
GPU, in a folder that should be a memory file system or have its files in the cache. "engine" is the engine
alone, its results dropped; "whole" is `polymerge merge` from its start to its end, digests of the sources
known. GB are those of the sources and of the result, each counted once.
"""

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from merge import experts, measure, our_command, with_paths
from synthetic_models import Llama, make_models

from service.recipes.parse import validate_recipe
from service.recipes.plan import make_plan
from service.sources.checkpoint import inspect_checkpoint
from workers.merging.engine import merge
from workers.merging.weights import CheckpointWeights

MODELS = ("base", "a", "b")
TWO = experts("a", "b", weight=1.0)
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"models": experts(*MODELS, weight=1.0)},
    "slerp": {"base_model": "a", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"t": 0.5}},
    "task_arithmetic": {"base_model": "base", "models": TWO},
    "ties": {"base_model": "base", "models": experts("a", "b", weight=1.0, density=0.5)},
    "dare_ties": {"base_model": "base", "models": experts("a", "b", weight=1.0, density=0.5)},
    "della": {"base_model": "base", "models": experts("a", "b", weight=1.0, density=0.5, epsilon=0.1)},
}
_TIMES = 3


def main() -> None:
    arguments = _arguments()
    llama = Llama(
        hidden=4096,
        inner=14336,
        vocabulary=128256,
        layers=arguments.layers,
        heads=32,
        key_value_heads=8,
        shard_bytes=5_000_000_000,
    )
    with _timed("making the models"):
        make_models(arguments.folder, llama, MODELS, device="cuda", side_by_side=8)
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores, torch {torch.__version__}")
    _print_bandwidths(arguments.folder)
    with _timed("first merge, which reads all models for their digests"):
        _run(arguments, "linear")
    print(f"{'recipe':<17}{'GB':>6}{'engine s':>10}{'GB/s':>7}{'whole s':>9}{'GB/s':>7}{'anon GB':>9}")
    for name in arguments.recipes:
        size = _bytes_moved(name, arguments.folder) / 1e9
        engine = _engine_seconds(name, arguments)
        print(f"{name:<17}{size:>6.1f}{engine:>10.2f}{size / engine:>7.1f}", end="", flush=True)
        cost = _run(arguments, name)
        memory = cost.anonymous_bytes / 1e9
        print(f"{cost.seconds:>9.2f}{size / cost.seconds:>7.1f}{memory:>9.1f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/polymerge-benchmark"))
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recipes", nargs="+", choices=sorted(RECIPES), default=list(RECIPES))
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve() / f"8b-{arguments.layers}-layers"
    return arguments


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)


def _print_bandwidths(folder: Path) -> None:
    file = next((folder / "a").glob("*.safetensors"))
    seconds = _best(lambda: subprocess.run(["cp", file, folder / "copy"], check=True))
    (folder / "copy").unlink()
    print(f"cp of a file: {file.stat().st_size / seconds / 1e9:.1f} GB/s written, as many read")
    host = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
    device, other = host.cuda(), host.cuda()
    transfers = {
        "pinned memory to the GPU": (device, host),
        "and back": (host, device),
        "within the GPU, one way": (other, device),
    }
    for what, (to, source) in transfers.items():
        print(f"{what}: {host.nbytes / _best(partial(_copy, to, source)) / 1e9:.1f} GB/s")


def _copy(to: torch.Tensor, source: torch.Tensor) -> None:
    to.copy_(source)
    torch.cuda.synchronize()


def _best(function: Callable[[], object]) -> float:
    """Seconds, of a few runs."""
    seconds = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _run(arguments: argparse.Namespace, name: str) -> Any:
    recipe = arguments.folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(with_paths(_recipe(name), arguments.folder)))
    return measure(our_command(recipe, arguments.threads, "cuda"), arguments.folder)


def _engine_seconds(name: str, arguments: argparse.Namespace) -> float:
    """Of the better of two runs, the first of which also makes the GPU ready."""
    recipe = validate_recipe(_recipe(name))
    folders = {model: arguments.folder / model for model in recipe.references()}
    tables = {model: inspect_checkpoint(folder, folder).tensors for model, folder in folders.items()}
    plan = make_plan(recipe, tables, 0)
    seconds = []
    for _ in range(2):
        weights = {model: CheckpointWeights(folder) for model, folder in folders.items()}
        start = time.perf_counter()
        for _ in merge(plan, weights, threads=arguments.threads, device="cuda"):
            pass
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _bytes_moved(name: str, folder: Path) -> int:
    models = set(validate_recipe(_recipe(name)).references())
    size = sum(file.stat().st_size for file in (folder / "a").glob("*.safetensors"))
    return (len(models) + 1) * size


def _recipe(name: str) -> dict[str, Any]:
    return {"merge_method": name, "dtype": "bfloat16", **RECIPES[name]}


if __name__ == "__main__":
    main()
