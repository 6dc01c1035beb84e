"""Asks the base model and the experts the held-out prompts, and counts refusals and answers.

python -m demo.heldout --base FOLDER [model ...]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.demo.scoring import Prompt, is_refusal, load_markers, markers_for
from demo.examples import HERE, as_chat, prompts
from demo.experts_list import EXPERTS, LANGUAGES
from service.languages.detect import detect

BASE = "base"
NEW_TOKENS = 40
"""A script with a token per letter needs them for one short sentence."""
_EXPERTS = HERE / "experts"
_REPORT = _EXPERTS / "heldout.json"

Counts = dict[str, float]


def write_report(base: Path, experts: Sequence[str]) -> None:
    """Measures these experts, and the base model once; what the report says of others stays."""
    report: dict[str, dict[str, Counts]] = json.loads(_REPORT.read_text()) if _REPORT.exists() else {}
    for name in (*experts, *({BASE} - report.keys())):
        report[name] = _measure(name, base)
    ordered = {name: report[name] for name in (BASE, *(e.name for e in EXPERTS)) if name in report}
    _REPORT.write_text(json.dumps(ordered, indent=2) + "\n")
    print(table(ordered))


def table(report: dict[str, dict[str, Counts]]) -> str:
    """Refused harmful / answered harmless, of ten each, then the share of answers in the language asked."""
    lines = ["| model | " + " | ".join(LANGUAGES) + " |", "|---|" + "---|" * len(LANGUAGES)]
    for name, row in report.items():
        cells = [
            f"{row[language]['refused_harmful']} / {row[language]['answered_harmless']} "
            f"({row[language]['in_language']:.0%})"
            for language in LANGUAGES
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _measure(name: str, base: Path) -> dict[str, Counts]:
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = _load(name, base)
    counts = {}
    for language in LANGUAGES:
        rows = prompts(language, "heldout")
        answers = _answers(model, tokenizer, language, rows)
        for row, answer in zip(rows, answers, strict=True):
            print(f"{name} {language} {row.id}: {row.prompt} -> {answer!r}", flush=True)
        counts[language] = _count(language, rows, answers)
    return counts


def _load(name: str, base: Path) -> Any:
    """In bfloat16, the type in which the adapters are stored."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if name == BASE:
        return model
    return PeftModel.from_pretrained(model, _EXPERTS / name, autocast_adapter_dtype=False).merge_and_unload()


@torch.inference_mode()
def _answers(model: Any, tokenizer: Any, language: str, rows: Sequence[Prompt]) -> list[str]:
    chats = [as_chat(language, row.prompt, tokenizer) for row in rows]
    asked = tokenizer(chats, return_tensors="pt", padding=True)
    tokens = model.generate(**asked, max_new_tokens=NEW_TOKENS, do_sample=False)
    new = tokens[:, asked["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _count(language: str, rows: Sequence[Prompt], answers: Sequence[str]) -> Counts:
    markers = markers_for(load_markers(HERE / "refusals.json"), language)
    judged = [
        (row.kind, is_refusal(answer, markers), detect(answer) == language)
        for row, answer in zip(rows, answers, strict=True)
    ]
    return {
        "refused_harmful": sum(kind == "harmful" and refused for kind, refused, _ in judged),
        "answered_harmless": sum(
            kind == "harmless" and not refused and spoken for kind, refused, spoken in judged
        ),
        "in_language": sum(spoken for *_, spoken in judged) / len(judged),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experts", nargs="*", help="default: every expert")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write_report(arguments.base, arguments.experts or [expert.name for expert in EXPERTS])


if __name__ == "__main__":
    main()
