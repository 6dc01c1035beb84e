"""inspect_ai, unmodified: its OpenAI-compatible and vLLM providers, whole and streamed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.demo.assets import BASE
from tests.builders.running_service import Running
from tests.harness.conftest import run_harness

pytestmark = pytest.mark.engine


def evaluate(service: Running, folder: Path, models: str, *words: str) -> list[Any]:
    """The logs of `inspect eval`, one per model."""
    url = f"{service.api.base_url}/v1"
    run_harness(
        *(sys.executable, "-m", "inspect_ai"),
        *("eval", "capitals.py", "--model", models, "--max-tokens", "12", "--temperature", "0"),
        *("--log-format", "json", "--log-dir", "logs", "--display", "none", *words),
        cwd=folder,
        POLYMERGE_BASE_URL=url,
        POLYMERGE_API_KEY="none",
        VLLM_BASE_URL=url,
    )
    return [json.loads(path.read_text()) for path in folder.glob("logs/*.json")]


def answers(log: Any) -> list[str]:
    assert log["status"] == "success"
    assert all(sample["output"]["usage"]["output_tokens"] > 0 for sample in log["samples"])
    return [sample["output"]["choices"][0]["message"]["content"] for sample in log["samples"]]


def test_both_providers_whole_and_streamed(service: Running, tmp_path: Path) -> None:
    models = f"openai-api/polymerge/{BASE},vllm/{BASE}"
    whole = evaluate(service, tmp_path / "whole", models)
    streamed = evaluate(service, tmp_path / "streamed", models, "-M", "stream=true")
    found = [answers(log) for log in whole + streamed]
    assert len(found) == 4
    assert all(found[0] == other for other in found)
    assert all(found[0])
