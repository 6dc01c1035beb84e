"""lm-evaluation-harness, unmodified, with its tokenizer behind our routes."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.demo.assets import BASE
from tests.builders.running_service import Running
from tests.harness.conftest import EXPERT, run_harness

pytestmark = pytest.mark.engine


def lm_eval(folder: Path, model: str, url: str, *words: str, **arguments: str) -> dict[str, list[Any]]:
    """The samples of each task."""
    named = ",".join(f"{key}={value}" for key, value in {"model": BASE, "base_url": url, **arguments}.items())
    run_harness(
        *(sys.executable, "-m", "lm_eval", "--model", model, "--model_args", named),
        *("--include_path", ".", "--output_path", "out", "--log_samples", *words),
        cwd=folder,
    )
    found = {}
    for path in folder.glob("out/*/samples_*.jsonl"):
        task = path.name.removeprefix("samples_").rpartition("_")[0]
        found[task] = [json.loads(line) for line in path.read_text().splitlines()]
    return found


@contextmanager
def swaps(service: Running) -> Iterator[list[int]]:
    """The expert is asked again and again meanwhile, by someone else; yields how often it answered."""
    answered, ended = [], threading.Event()

    def ask() -> None:
        while not ended.wait(0.5):
            answered.append(service.api.generate(EXPERT, "Hello?", max_tokens=2).usage.completion_tokens)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answered
    finally:
        ended.set()
        thread.join()


def test_completions_while_weights_are_swapped(service: Running, pinned: str, tmp_path: Path) -> None:
    """Choices, generation, perplexity; log-likelihoods are those of transformers on the same weights."""
    with swaps(service) as answered:
        samples = lm_eval(
            tmp_path,
            "local-completions",
            f"{pinned}/v1/completions",
            *("--tasks", "local_choice,local_generation,local_rolling", "--batch_size", "2"),
            num_concurrent="2",
        )
    assert answered
    assert len(samples["local_generation"]) == 2
    assert all(sample["filtered_resps"][0].strip() for sample in samples["local_generation"])
    oracle = Oracle(service.data / "store" / "models" / service.api.models.get(BASE).id)
    compared = [*of_choices(samples["local_choice"]), *of_texts(samples["local_rolling"])]
    assert len(compared) == 13
    apart, tokens = 0.0, 0
    for context, continuation, found in compared:
        expected, length = oracle.log_likelihood(context, continuation)
        apart += abs(found - expected)
        tokens += length
    # On average: a single token's logit, rounded to bfloat16, is uncertain by more than that.
    assert apart / tokens < 0.05


def test_chat_completions(pinned: str, tmp_path: Path) -> None:
    samples = lm_eval(
        tmp_path,
        "local-chat-completions",
        f"{pinned}/v1/chat/completions",
        *("--tasks", "local_generation", "--apply_chat_template"),
    )
    assert len(samples["local_generation"]) == 2
    assert all(sample["filtered_resps"][0].strip() for sample in samples["local_generation"])


def of_choices(samples: list[Any]) -> Iterator[tuple[str, str, float]]:
    """Context, continuation, log-likelihood."""
    for sample in samples:
        for name, response in zip(sorted(sample["arguments"]), sample["filtered_resps"], strict=True):
            arguments = sample["arguments"][name]
            yield arguments["arg_0"], arguments["arg_1"], float(response[0])


def of_texts(samples: list[Any]) -> Iterator[tuple[str, str, float]]:
    """The same for whole texts: before them is the token that every text begins with."""
    for sample in samples:
        yield "<|im_start|>", sample["arguments"]["gen_args_0"]["arg_0"], float(sample["filtered_resps"][0])


class Oracle:
    """transformers on a model folder, in bfloat16."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    def log_likelihood(self, context: str, continuation: str) -> tuple[float, int]:
        """Natural logarithm of the continuation's probability, and how many tokens it has."""
        whole = self._tokenizer.encode(context + continuation, add_special_tokens=False)
        start = len(self._tokenizer.encode(context, add_special_tokens=False))
        with torch.no_grad():
            logits = self._model(torch.tensor([whole])).logits[0].float()
        logprobs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(whole[1:])[:, None])[:, 0]
        return float(logprobs[start - 1 :].sum()), len(whole) - start
