"""Without a service: `mergekit-yaml` writes a checkpoint, and a vLLM of its own is started on it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

NAME = "peer"


def merge(python: Path, recipe: dict[str, Any], folders: dict[str, Path], work: Path) -> tuple[Path, float]:
    """The checkpoint that mergekit writes, and the seconds it took. `folders`: where each model is."""
    out, file = work / "merged", work / "recipe.yaml"
    shutil.rmtree(out, ignore_errors=True)
    file.write_text(yaml.safe_dump(_with_paths(recipe, folders)))
    program = [str(python.parent / "mergekit-yaml"), str(file), str(out), "--no-write-model-card", "--quiet"]
    began = time.monotonic()
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_offline())
    return out, time.monotonic() - began


@contextmanager
def server(folder: Path, port: int, work: Path) -> Iterator[tuple[str, float]]:
    """Its address and the seconds until it was healthy; with the options that our own engines have."""
    options = {
        "--model": str(folder),
        "--served-model-name": NAME,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--max-model-len": "2048",
        "--kv-cache-memory-bytes": str(512 * 1024 * 1024),
    }
    flags = ["--enforce-eager", "--disable-log-stats", "--disable-uvicorn-access-log"]
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    url = f"http://127.0.0.1:{port}"
    with (work / "peer.log").open("wb") as log:
        began = time.monotonic()
        arguments = [*command, *(word for pair in options.items() for word in pair), *flags]
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env=_offline(), start_new_session=True)
    try:
        while not _healthy(url):
            if process.poll() is not None:
                raise SystemExit(f"vLLM did not start; see {work / 'peer.log'}")
            time.sleep(0.1)
        yield url, time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


def ask(url: str, texts: Sequence[str], tokens: int) -> float:
    """The seconds that all take together, asked at once as chats."""

    def one(text: str) -> None:
        chat = {"model": NAME, "messages": [{"role": "user", "content": text}], "temperature": 0}
        client.post("/v1/chat/completions", json=chat | {"max_tokens": tokens}).raise_for_status()

    began = time.monotonic()
    with (
        httpx2.Client(base_url=url, trust_env=False, timeout=600) as client,
        ThreadPoolExecutor(len(texts)) as threads,
    ):
        list(threads.map(one, texts))
    return time.monotonic() - began


def _healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def _offline() -> dict[str, str]:
    """Without what would slow it down: look-ups, and a compilation at the first log probabilities."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "TORCH_COMPILE_DISABLE": "1"}


def _with_paths(node: Any, folders: dict[str, Path]) -> Any:
    if isinstance(node, list):
        return [_with_paths(item, folders) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: str(folders[value]) if key in ("model", "base_model") else _with_paths(value, folders)
        for key, value in node.items()
    }
