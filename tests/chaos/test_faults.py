"""Some of the faults that the service heals from; every_fault.py tries all of them."""

import pytest

from clients.sdk.errors import PolymergeError
from tests.chaos.conftest import BROKEN, CUT
from tests.chaos.patient import Patient

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(("model", "reason"), [(CUT, "damaged"), (BROKEN, "weights are broken")])
def test_a_model_that_is_no_good_is_refused_and_the_engine_goes_on(
    patient: Patient, model: str, reason: str
) -> None:
    before = [engine.pid for engine in patient.running.api.engines()]
    with pytest.raises(PolymergeError, match=reason):
        patient.ask(model)
    patient.check_healed()
    assert [engine.pid for engine in patient.running.api.engines()] == before
    failures = {item.model: item.reason for item in patient.running.api.serving().failures}
    assert reason in failures[model]


def test_a_gateway_that_is_killed_while_it_answers_is_replaced(patient: Patient) -> None:
    patient.while_generating(lambda: patient.kill("gateway"))
    patient.check_healed()


def test_an_engine_that_is_killed_while_it_answers_is_replaced(patient: Patient) -> None:
    patient.while_generating(lambda: patient.kill("engine core"))
    patient.check_healed()
