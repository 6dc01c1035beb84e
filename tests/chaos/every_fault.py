"""Every part killed in every phase; some 15 minutes.

`.venv/bin/python -m pytest tests/chaos/every_fault.py` runs it; the name keeps it out of `make test`.
"""

import pytest

from tests.chaos.patient import PARTS, Patient

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("part", PARTS)
def test_killed_while_it_answers(patient: Patient, part: str) -> None:
    patient.while_generating(lambda: patient.kill(part))
    patient.check_healed()


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_a_swap(patient: Patient, part: str) -> None:
    patient.while_changing(lambda: patient.kill(part))
    patient.check_healed()


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_a_load(patient: Patient, part: str) -> None:
    patient.kill("API server")
    patient.while_changing(lambda: patient.kill(part))
    patient.check_healed()
