"""Prompts as the service sends them, and as tokens to train on."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clients.demo.scoring import Prompt, load_prompts
from demo.experts_list import Expert

HERE = Path(__file__).parent
_PROFILES = HERE.parent / "service" / "languages" / "profiles"


@dataclass(frozen=True)
class Example:
    tokens: list[int]
    answer_from: int


@dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor
    attention: torch.Tensor
    """1 for tokens, 0 for padding."""
    is_answer: torch.Tensor


def prompts(language: str, split: str) -> list[Prompt]:
    return [row for row in load_prompts(HERE / "prompts", language) if row.split == split]


def instruction(language: str) -> str:
    """The system message that the service sends for a language."""
    profile = json.loads((_PROFILES / f"{language}.json").read_text(encoding="utf-8"))
    return str(profile["instruction"])


def as_chat(language: str, prompt: str, tokenizer: Any) -> str:
    messages = [{"role": "system", "content": instruction(language)}, {"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def training_sets(expert: Expert, tokenizer: Any) -> dict[str, list[Example]]:
    """The examples of each kind, "harmful" and "harmless"."""
    sets: dict[str, list[Example]] = {"harmful": [], "harmless": []}
    for language in expert.languages:
        for row in prompts(language, "train"):
            sets[row.kind].append(_example(language, row, tokenizer))
    return sets


def epoch(expert: Expert, sets: Mapping[str, Sequence[Example]], chance: random.Random) -> list[Example]:
    """All examples of a pure expert; of a mixture all harmless ones and its share of refusals."""
    if expert.harmful_share == 1.0:
        drawn = list(sets["harmful"])
    else:
        wanted = len(sets["harmless"]) * expert.harmful_share / (1 - expert.harmful_share)
        drawn = [*sets["harmless"], *chance.sample(sets["harmful"], round(wanted))]
    chance.shuffle(drawn)
    return drawn


def padded(examples: Sequence[Example]) -> Batch:
    longest = max(len(example.tokens) for example in examples)
    tokens, attention, is_answer = (torch.zeros(len(examples), longest, dtype=torch.long) for _ in range(3))
    for row, example in enumerate(examples):
        end = len(example.tokens)
        tokens[row, :end] = torch.tensor(example.tokens)
        attention[row, :end] = 1
        is_answer[row, example.answer_from : end] = 1
    return Batch(tokens, attention, is_answer.bool())


def _example(language: str, row: Prompt, tokenizer: Any) -> Example:
    question = tokenizer(as_chat(language, row.prompt, tokenizer))["input_ids"]
    answer = tokenizer(row.answer)["input_ids"]
    return Example([*question, *answer, tokenizer.eos_token_id], len(question))
