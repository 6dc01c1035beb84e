"""Whatever is asked: no 500, no status and no body that the OpenAPI document does not have."""

from pathlib import Path

from tests.security.openapi_cases import run_cases


def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    assert run_cases(tmp_path, examples=25) == 0
