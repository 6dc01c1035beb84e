"""Jobs over HTTP: looked at, cancelled, and followed event by event."""

import json

import pytest

from service.contracts.job import Job

from .conftest import Gateway, assert_problem
from .test_merges import LINEAR


@pytest.fixture
def job(gateway: Gateway) -> Job:
    """Of a merge that is queued."""
    return Job.model_validate(gateway.client.post("/merges", json=LINEAR).json())


def read_stream(text: str) -> list[dict[str, str]]:
    """Server-sent events as their fields."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [dict(line.split(": ", 1) for line in block if not line.startswith(":")) for block in blocks]


def test_a_queued_job_is_cancelled_and_its_recipe_can_be_sent_again(gateway: Gateway, job: Job) -> None:
    assert int(gateway.client.get(f"/jobs/{job.id}").headers["retry-after"]) > 0

    answer = gateway.client.post(f"/merges/{job.id}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert "retry-after" not in gateway.client.get(f"/jobs/{job.id}").headers
    assert gateway.client.post("/merges", json=LINEAR).json()["id"] != job.id
    gateway.work()
    assert gateway.client.get(f"/jobs/{job.id}").json()["state"] == "cancelled"


def test_a_running_job_is_asked_to_end(gateway: Gateway, job: Job) -> None:
    gateway.jobs.start(job.id, "worker")

    answer = gateway.client.post(f"/jobs/{job.id}/cancel").json()

    assert (answer["state"], answer["cancel_requested"]) == ("running", True)


def test_the_event_log_of_a_finished_job_is_the_same_as_json_and_as_a_stream(
    gateway: Gateway, job: Job
) -> None:
    gateway.work()
    listed = gateway.client.get(f"/jobs/{job.id}/events").json()["items"]
    answer = gateway.client.get(f"/merges/{job.id}/events", headers={"accept": "text/event-stream"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    streamed = read_stream(answer.text)
    assert [json.loads(event["data"]) for event in streamed] == listed
    assert [event["id"] for event in streamed] == [event["id"] for event in listed]
    assert [event["event"] for event in streamed] == [event["type"] for event in listed]
    assert listed[0]["data"] == {"state": "queued"}
    assert listed[-1]["data"]["state"] == "succeeded"


def test_a_stream_goes_on_after_the_last_event_seen(gateway: Gateway, job: Job) -> None:
    gateway.work()
    listed = gateway.client.get(f"/jobs/{job.id}/events").json()["items"]

    for seen in range(len(listed) - 1):
        headers = {"accept": "text/event-stream", "last-event-id": listed[seen]["id"]}
        answer = gateway.client.get(f"/jobs/{job.id}/events", headers=headers)
        assert [json.loads(event["data"]) for event in read_stream(answer.text)] == listed[seen + 1 :]


@pytest.mark.parametrize("last", ["x", "-1", "1-", "9" * 30, "1-2-3"])
def test_a_last_event_id_that_is_none_is_refused(gateway: Gateway, job: Job, last: str) -> None:
    answer = gateway.client.get(f"/jobs/{job.id}/events", headers={"last-event-id": last})

    assert_problem(answer, 422, "/last-event-id")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/events?x")]
)
def test_an_unknown_job_is_404(gateway: Gateway, method: str, path: str) -> None:
    problem = assert_problem(gateway.client.request(method, f"/jobs/j_0000000000000000{path}"), 404)

    assert problem["type"] == "unknown-job"
    assert_problem(gateway.client.request(method, f"/jobs/42{path}"), 422, "/job_id")
