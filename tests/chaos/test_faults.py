"""Some of the faults that the service heals from; every_fault.py tries all of them."""

import httpx2
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


def test_a_load_that_runs_out_of_memory_is_refused_and_the_engine_goes_on(patient: Patient) -> None:
    patient.check_healed()
    before = [engine.pid for engine in patient.running.api.engines()]
    with patient.out_of_memory(), pytest.raises(PolymergeError, match="memory"):
        patient.ask(patient.models[0])
    patient.check_healed()
    assert [engine.pid for engine in patient.running.api.engines()] == before


def test_an_engine_that_was_put_to_sleep_is_woken_while_a_request_waits(patient: Patient) -> None:
    patient.check_healed()
    (engine,) = patient.running.api.engines()
    httpx2.post(f"{engine.url}/sleep?level=1", trust_env=False, timeout=60).raise_for_status()
    assert httpx2.get(f"{engine.url}/is_sleeping", trust_env=False).json() == {"is_sleeping": True}
    patient.check_healed()
    assert [item.pid for item in patient.running.api.engines()] == [engine.pid]
