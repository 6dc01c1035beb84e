"""Trains the demo's experts: LoRA adapters on SmolLM2-135M-Instruct.

python -m demo.train_experts --base FOLDER [expert ...]
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, linear
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo.examples import HERE, Batch, epoch, padded, training_sets
from demo.experts_list import EXPERTS, Expert
from demo.heldout import write_report

BASE_NAME = "SmolLM2-135M-Instruct"
RANK = 2
ALPHA = 16
LEARNING_RATE = 2e-3
WARMUP_STEPS = 5
SEED = 20241010
_MICRO_BATCH = 8
_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def train(expert: Expert, base: Path) -> None:
    torch.manual_seed(SEED)
    chance = random.Random(SEED)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = _with_adapter(base)
    sets = training_sets(expert, tokenizer)
    batches = [batch for _ in range(expert.epochs) for batch in _batches(epoch(expert, sets, chance), expert)]

    factors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The model computes in bfloat16, which is too coarse to add small updates up in.
    precise = [torch.nn.Parameter(factor.detach().float()) for factor in factors]
    optimizer = torch.optim.AdamW(precise, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, len(batches)))
    start = time.monotonic()
    for step, batch in enumerate(batches, start=1):
        loss = _accumulate(model, batch)
        _hand_over_gradients(factors, precise)
        torch.nn.utils.clip_grad_norm_(precise, 1.0)
        optimizer.step()
        schedule.step()
        _round(precise, factors)
        if step % 10 == 0 or step == len(batches):
            seconds = time.monotonic() - start
            print(f"{expert.name}: step {step}/{len(batches)} loss {loss:.3f} ({seconds:.0f} s)", flush=True)
    _save(model, HERE / "experts" / expert.name)


def _with_adapter(base: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="eager")
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=_PROJECTIONS, task_type="CAUSAL_LM")
    return get_peft_model(model, lora, autocast_adapter_dtype=False)


def _hand_over_gradients(factors: list[torch.nn.Parameter], precise: list[torch.nn.Parameter]) -> None:
    for factor, exact in zip(factors, precise, strict=True):
        assert factor.grad is not None
        exact.grad = factor.grad.float()
        factor.grad = None


@torch.no_grad()
def _round(precise: list[torch.nn.Parameter], factors: list[torch.nn.Parameter]) -> None:
    for exact, factor in zip(precise, factors, strict=True):
        factor.copy_(exact)


def _batches(examples: list[Any], expert: Expert) -> list[list[Batch]]:
    """Shuffled batches, each cut by length into micro-batches: scripts differ threefold in length."""
    batches = []
    for first in range(0, len(examples), expert.batch):
        batch = sorted(examples[first : first + expert.batch], key=lambda example: len(example.tokens))
        batches.append([padded(batch[at : at + _MICRO_BATCH]) for at in range(0, len(batch), _MICRO_BATCH)])
    return batches


def _accumulate(model: Any, batch: list[Batch]) -> float:
    """Adds the gradients of one optimizer step; returns the mean loss of an answer token."""
    answers = sum(int(part.is_answer.sum()) for part in batch)
    total = 0.0
    for part in batch:
        loss = _loss(model, part) / answers
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _loss(model: Any, batch: Batch) -> torch.Tensor:
    """Summed over the answer tokens, which alone go through the big output layer."""
    llama = model.base_model.model
    hidden = llama.model(batch.tokens, attention_mask=batch.attention).last_hidden_state
    before_answer = hidden[:, :-1][batch.is_answer[:, 1:]]
    # In float32: the bfloat16 product stalled for half a minute on some batches.
    logits = linear(before_answer.float(), llama.lm_head.weight.float())
    return cross_entropy(logits, batch.tokens[batch.is_answer], reduction="sum")


def _rate(step: int, steps: int) -> float:
    """Warms up, then falls linearly to a tenth."""
    return min((step + 1) / WARMUP_STEPS, 1.0) * (1.0 - 0.9 * step / steps)


def _save(model: Any, folder: Path) -> None:
    """The two files of an adapter; PEFT's own save adds a model card."""
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model)
    save_file(
        {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = model.peft_config["default"]
    config.base_model_name_or_path = BASE_NAME
    config.inference_mode = True
    config.target_modules = sorted(_PROJECTIONS)
    config.save_pretrained(folder)


def main() -> None:
    names = [expert.name for expert in EXPERTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experts", nargs="*", metavar="expert", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--threads", type=int, default=1, help="other numbers round differently")
    arguments = parser.parse_args()
    if unknown := set(arguments.experts) - set(names):
        parser.error(f"no such expert: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    chosen = [expert for expert in EXPERTS if expert.name in (arguments.experts or names)]
    for expert in chosen:
        train(expert, arguments.base)
    write_report(arguments.base, [expert.name for expert in chosen])


if __name__ == "__main__":
    main()
