"""Time and memory of merges, beside mergekit's and beside copying the result: prints a table.

    .venv/bin/python benchmarks/merge.py                              # ours alone
    .venv/bin/python benchmarks/merge.py --mergekit oracle/bin/python # and mergekit, in its environment

Makes a base and three experts in a folder (--folder, kept for the next run): Llama-shaped, bfloat16, shards
of 1 GB, 1.1 billion parameters with 22 layers (--layers). Every merge is a process of its own, its start
included; the first of ours, told apart, also reads all models for their digests, which are kept. Anonymous
memory is what the process holds besides mapped files.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

MODELS = ("base", "a", "b", "c")
HIDDEN, INNER, VOCABULARY, HEADS, KEY_VALUE_HEADS = 2048, 5632, 32000, 32, 4
SHARD_BYTES = 1_000_000_000


def experts(**parameters: float) -> list[dict[str, Any]]:
    return [{"model": name, "parameters": parameters} for name in MODELS[1:]]


RECIPES: dict[str, dict[str, Any]] = {
    "first": {
        "merge_method": "linear",
        "models": [{"model": name, "parameters": {"weight": 1.0}} for name in MODELS],
    },
    "linear": {"models": experts(weight=1.0)},
    "slerp": {"base_model": "a", "models": [{"model": "a"}, {"model": "b"}], "parameters": {"t": 0.5}},
    "ties": {"base_model": "base", "models": experts(weight=1.0, density=0.5)},
    "dare_ties": {"base_model": "base", "models": experts(weight=1.0, density=0.5)},
}


def main() -> None:
    arguments = _arguments()
    make_models(arguments.folder, arguments.layers)
    print(f"copy of one model: {time_of_copy(arguments.folder):.1f} s")
    first, _ = measure(_our_command(write_recipe("first", arguments.folder), arguments), arguments.folder)
    print(f"first merge, linear of all four: {first:.1f} s")
    print(
        f"{'recipe':<12}{'ours s':>9}{'anon MB':>9}"
        + (f"{'mergekit s':>12}{'anon MB':>9}{'ratio':>7}" if arguments.mergekit else "")
    )
    for name in arguments.recipes:
        recipe = write_recipe(name, arguments.folder)
        seconds, memory = measure(_our_command(recipe, arguments), arguments.folder)
        line = f"{name:<12}{seconds:>9.1f}{memory / 1e6:>9.0f}"
        if arguments.mergekit:
            theirs, their_memory = measure(_mergekit_command(recipe, arguments), arguments.folder)
            line += f"{theirs:>12.1f}{their_memory / 1e6:>9.0f}{theirs / seconds:>6.1f}x"
        print(line, flush=True)


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


def make_models(folder: Path, layers: int) -> None:
    """The base, and experts that differ from it by a little noise everywhere."""
    import torch

    if (folder / "complete").exists():
        return
    print(f"making {len(MODELS)} models in {folder}")
    rng = torch.Generator().manual_seed(0)
    for model in MODELS:
        shutil.rmtree(folder / model, ignore_errors=True)
        (folder / model).mkdir(parents=True)
        (folder / model / "config.json").write_text(json.dumps(_config(layers)))
    shards = _shards(_shapes(layers))
    placed: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        placed |= dict.fromkeys(names, file)
        _make_shard(folder, file, {name: _shapes(layers)[name] for name in names}, rng)
    for model in MODELS:
        index = {"metadata": {}, "weight_map": placed}
        (folder / model / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "complete").touch()


def _make_shard(folder: Path, file: str, shapes: dict[str, tuple[int, ...]], rng: Any) -> None:
    import torch
    from safetensors.torch import save_file

    base = {name: torch.randn(shape, generator=rng) * 0.02 for name, shape in shapes.items()}
    for model in MODELS:
        noise = 0.0 if model == "base" else 0.002
        tensors = {
            name: (tensor + noise * torch.randn(tensor.shape, generator=rng)).bfloat16()
            for name, tensor in base.items()
        }
        save_file(tensors, folder / model / file, metadata={"format": "pt"})


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    keys = HIDDEN * KEY_VALUE_HEADS // HEADS
    layer = {
        "input_layernorm": (HIDDEN,),
        "mlp.down_proj": (HIDDEN, INNER),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "post_attention_layernorm": (HIDDEN,),
        "self_attn.k_proj": (keys, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.v_proj": (keys, HIDDEN),
    }
    outside = {
        "lm_head.weight": (VOCABULARY, HIDDEN),
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    inside = {
        f"model.layers.{index}.{name}.weight": shape
        for index in range(layers)
        for name, shape in layer.items()
    }
    return outside | inside


def _shards(shapes: dict[str, tuple[int, ...]]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        count = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        if size + count > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += count
    return shards


def _config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def write_recipe(name: str, folder: Path) -> Path:
    """One file for both programs."""
    path = folder / "recipe.yaml"
    recipe = {"merge_method": name, "dtype": "bfloat16", **RECIPES[name]}
    path.write_text(yaml.safe_dump(_with_paths(recipe, folder)))
    return path


def time_of_copy(folder: Path) -> float:
    start = time.monotonic()
    shutil.copytree(folder / "base", folder / "copy")
    seconds = time.monotonic() - start
    shutil.rmtree(folder / "copy")
    return seconds


def measure(command: list[str], folder: Path) -> tuple[float, int]:
    """Seconds from start to end, and the most anonymous memory seen."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    start, peak = time.monotonic(), 0
    said = folder / "stderr"
    with (
        said.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _anonymous_bytes(process.pid))
            time.sleep(0.05)
    seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with {process.returncode}:\n{said.read_text()}")
    shutil.rmtree(folder / "out")
    return seconds, peak


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _our_command(recipe: Path, arguments: argparse.Namespace) -> list[str]:
    program = Path(sys.executable).parent / "polymerge"
    options = ["--threads", str(arguments.threads), "--device", "cpu"]
    return [str(program), "merge", str(recipe), str(recipe.parent / "out"), *options]


def _mergekit_command(recipe: Path, arguments: argparse.Namespace) -> list[str]:
    program = arguments.mergekit.absolute().parent / "mergekit-yaml"
    options = ["--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    return [str(program), str(recipe), str(recipe.parent / "out"), *options]


def _with_paths(node: Any, folder: Path) -> Any:
    if isinstance(node, list):
        return [_with_paths(item, folder) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: str(folder / value) if key in ("model", "base_model") else _with_paths(value, folder)
        for key, value in node.items()
    }


if __name__ == "__main__":
    main()
