"""Requests made up from the OpenAPI document, right ones and wrong ones, to a real gateway over a real Redis.

The long run, some 11,000 requests in two minutes:
python -m tests.security.openapi_cases --examples 100 --all-edges
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import MergeSite

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
_MODELS = ["quick-0", "quick-1", "quick-2", "slow-1"]


def run_cases(folder: Path, examples: int, phases: str = "examples,fuzzing", seed: int = 1) -> int:
    """0 if every answer was as the document says; prints what was not. `examples` of each operation."""
    site = MergeSite(folder / "data")
    try:
        site.start_worker()
        job = site.finished(site.merge("quick", name="made"))
        with running_gateway(site.redis.url, site.data, POLYMERGE_GENERATE_TIMEOUT_SECONDS="0.1") as (_, url):
            config = folder / "schemathesis.toml"
            config.write_text(_config([*_MODELS, "made"], [job.id]))
            options = ["--checks", ",".join(_CHECKS), "--phases", phases, "--max-examples", str(examples)]
            options += ["--seed", str(seed), "--workers", "2", "--request-timeout", "60", "--warnings", "off"]
            command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
            return subprocess.run(
                [*command, "run", f"{url}/openapi.json", *options], cwd=folder, check=False
            ).returncode
    finally:
        site.close()


def _config(models: list[str], jobs: list[str]) -> str:
    """Names of what is there, for two requests in three: else nearly all would end at a 404.

    503 is what a route that needs vLLM answers where there is none, and /readyz where a part is missing.
    """
    return f"""
[dictionaries]
models = {{ values = {json.dumps(models)} }}
jobs = {{ values = {json.dumps(jobs)} }}

[parameters]
"path.reference" = {{ dictionary = "models", probability = 0.7 }}
"path.model" = {{ dictionary = "models", probability = 0.7 }}
"path.name" = {{ dictionary = "models", probability = 0.5 }}
"path.job_id" = {{ dictionary = "jobs", probability = 0.7 }}

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all-edges", action="store_true", help="every bound and every wrong type, too")
    arguments = parser.parse_args()
    phases = "examples,coverage,fuzzing" if arguments.all_edges else "examples,fuzzing"
    with tempfile.TemporaryDirectory() as folder:
        return run_cases(Path(folder), arguments.examples, phases, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
