"""promptfoo, unmodified: one model as two providers, in two languages."""

import json
import sys
from pathlib import Path

import pytest

from tests.builders.running_service import Running
from tests.harness.conftest import run_harness

PROMPTFOO = Path(sys.prefix) / "promptfoo" / "node_modules" / ".bin" / "promptfoo"

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not PROMPTFOO.exists(), reason="needs Node: `make test` installs promptfoo there"),
]


def test_every_question_is_answered_in_both_languages(service: Running, tmp_path: Path) -> None:
    run_harness(
        *(str(PROMPTFOO), "eval", "-c", "promptfoo.yaml", "-o", "out.json", "--no-cache"),
        cwd=tmp_path,
        POLYMERGE_BASE_URL=f"{service.api.base_url}/v1",
        PROMPTFOO_CONFIG_DIR=str(tmp_path / "config"),
        PROMPTFOO_DISABLE_TELEMETRY="1",
        PROMPTFOO_DISABLE_UPDATE="1",
        PROMPTFOO_FAILED_TEST_EXIT_CODE="0",
    )
    evaluated = json.loads((tmp_path / "out.json").read_text())["results"]
    # Whether an answer is right is the model's affair.
    assert evaluated["stats"]["errors"] == 0
    asked = [(result["provider"]["id"], result["vars"]["question"]) for result in evaluated["results"]]
    assert len(set(asked)) == 4
    for result in evaluated["results"]:
        assert result["response"]["output"].strip()
        assert result["response"]["tokenUsage"]["completion"] > 0
