"""Jobs over HTTP: looked at, cancelled, and followed event by event."""

import json

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.contracts.job import Job
from tests.builders.api_keys import bearer

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


def test_what_workers_log_about_a_job_is_kept_with_it(gateway: Gateway, job: Job) -> None:
    assert gateway.client.get(f"/jobs/{job.id}/log").json() == {"lines": []}
    gateway.work()

    lines = gateway.client.get(f"/merges/{job.id}/log").json()["lines"]

    assert f"INFO attempt 1: merge {job.id} begins" in lines[0]
    assert any("linear of 1 tensors" in line for line in lines)
    assert lines[-1].endswith(f"merge {job.id} succeeded")
    assert gateway.client.get(f"/jobs/{job.id}").json()["log_tail"] == lines
    assert gateway.redis.ttl(f"polymerge:job:{job.id}:log") > 0
    assert_problem(gateway.client.get("/jobs/j_0000000000000000/log"), 404)


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


def test_a_key_makes_a_request_safe_to_repeat_and_serves_no_other(gateway: Gateway) -> None:
    key = {"idempotency-key": "import-1"}
    first = gateway.client.post("/merges", json=LINEAR, headers=key)
    gateway.client.post(f"/jobs/{first.json()['id']}/cancel")

    again = gateway.client.post("/merges", json=LINEAR, headers=key)
    assert (again.status_code, again.json(), again.headers["location"]) == (
        202,
        first.json(),
        first.headers["location"],
    )
    assert len(gateway.client.get("/jobs").json()["items"]) == 1
    other = gateway.client.post("/merges", json=LINEAR, params={"seed": 1}, headers=key)
    assert assert_problem(other, 422, "/idempotency-key")["type"] == "idempotency-conflict"
    assert all(gateway.redis.ttl(name) > 0 for name in gateway.redis.keys("polymerge:idempotency:*"))


def test_clients_with_keys_of_their_own_may_use_the_same_idempotency_key(gateway: Gateway) -> None:
    me, you = (bearer(gateway.settings.keys_path, name, ["merge"]) for name in ("me", "you"))
    key = {"idempotency-key": "1"}
    with TestClient(create_app(gateway.settings)) as client:
        mine = client.post("/merges", json=LINEAR, headers=key | me)
        yours = client.post("/merges", json=LINEAR, params={"seed": 1}, headers=key | you)

    assert (mine.status_code, yours.status_code) == (202, 202)


def test_a_full_queue_is_429_and_takes_none_of_a_sweep(gateway: Gateway) -> None:
    sweep = LINEAR | {"sweep": {"dtype": ["float16", "bfloat16"]}}
    with TestClient(create_app(gateway.settings.model_copy(update={"max_queued_jobs": 2}))) as client:
        client.post("/merges", json=LINEAR)
        refused = client.post("/merges", json=sweep)
        assert client.post("/merges", json=LINEAR | {"dtype": "float16"}).status_code == 202
        full = client.post("/merges", json=LINEAR | {"dtype": "bfloat16"})

    for answer in (refused, full):
        assert assert_problem(answer, 429)["type"] == "overloaded"
        assert int(answer.headers["retry-after"]) > 0
    assert len(list(gateway.jobs.active())) == 2


def test_jobs_are_listed_by_state_name_model_and_time(gateway: Gateway) -> None:
    made = [gateway.client.post("/merges", json=LINEAR, params={"name": "one"}).json()]
    gateway.work()
    varied = {**LINEAR, "dtype": "float16"}
    made.append(gateway.client.post("/merges", json=varied, params={"name": "two"}).json())

    def listed(**chosen: str) -> list[str]:
        return [job["id"] for job in gateway.client.get("/jobs", params=chosen).json()["items"]]

    done, waiting = (job["id"] for job in made)
    assert listed() == [waiting, done]
    assert listed(state="succeeded") == [done]
    assert listed(name="two") == [waiting]
    assert listed(model=made[0]["model"]) == [done]
    assert listed(created_after=made[0]["created_at"]) == [waiting]
    assert listed(created_before=made[1]["created_at"], kind="merge") == [done]
    assert listed(kind="import") == []
    page = gateway.client.get("/jobs", params={"limit": 1}).json()
    assert listed(cursor=page["next_cursor"]) == [done]


def test_an_attempt_that_takes_longer_than_it_may_fails_the_job(gateway: Gateway) -> None:
    job = gateway.client.post("/merges", json=LINEAR, params={"timeout": 1e-6}).json()
    gateway.work()

    ended = gateway.client.get(f"/jobs/{job['id']}").json()
    assert (ended["state"], ended["error"]["type"], ended["attempt"]) == ("failed", "timeout", 1)
