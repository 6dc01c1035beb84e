"""The users of Redis in deploy/redis: each part of the service does its work as its own user, and no more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
import torch
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError

from clients.stack.embedded_redis import find_server
from service.models.store import Store
from tests.builders.free_port import free_port
from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import until
from tests.workers.serving.models import add_model

MAKE_SECRETS = Path(__file__).parents[2] / "deploy" / "redis" / "make-secrets"
MODELS = ("m_00000000000000a1", "m_00000000000000a2", "m_00000000000000a3")
USERS = ("gateway", "merge-worker", "serve-worker")


class GuardedRedis:
    """A server with the users that operators get, and an `admin` of ours."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self._secrets = folder / "secrets"
        subprocess.run([MAKE_SECRETS, self._secrets, f"127.0.0.1:{port}"], check=True)
        users = self._secrets / "users.acl"
        users.write_text(users.read_text() + "user admin on nopass ~* &* +@all\n")
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "aclfile": str(users),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([find_server(), *words], stdout=subprocess.DEVNULL)
        self.admin = Redis(port=port, username="admin", password="any")
        self.nobody = Redis(port=port)
        until(self._answers)

    def url_file(self, user: str) -> Path:
        return self._secrets / f"{user}-redis-url"

    def client(self, user: str) -> "Redis":
        return Redis.from_url(self.url_file(user).read_text().strip())

    def denied(self) -> list[object]:
        """What was refused to whom."""
        return [(entry["username"], entry["object"]) for entry in self.admin.acl_log()]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except ConnectionError:
            return False


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[GuardedRedis]:
    server = GuardedRedis(tmp_path)
    yield server
    server.close()


@contextmanager
def worker(module: str, redis_url_file: Path, data: Path) -> Iterator[None]:
    environment = os.environ | {"REDIS_URL_FILE": str(redis_url_file), "POLYMERGE_DATA": str(data)}
    environment.pop("REDIS_URL", None)
    with subprocess.Popen([sys.executable, "-m", module], env=environment) as process:
        yield
        process.terminate()


def test_the_service_does_its_work_and_nothing_is_refused_to_it(
    redis_server: GuardedRedis, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    store = Store(data / "store")
    for number, ident in enumerate(MODELS):
        add_model(store, ident, {"model.layers.0.mlp.up_proj.weight": torch.full((2, 3), float(number))})
    (store.path(MODELS[2]) / "model.safetensors").write_bytes(b"damaged since")
    settings = {"REDIS_URL_FILE": str(redis_server.url_file("gateway"))}
    with ExitStack() as stack:
        _, url = stack.enter_context(running_gateway("redis://127.0.0.1:1/0", data, **settings))
        for module, user in (("merge", "merge-worker"), ("serve", "serve-worker")):
            stack.enter_context(worker(f"workers.{module}_worker", redis_server.url_file(user), data))
        client = stack.enter_context(httpx2.Client(base_url=url, trust_env=False, timeout=120))
        until(lambda: client.get("/readyz").status_code == 200)

        sources = [{"model": model, "parameters": {"weight": 0.5}} for model in MODELS[:2]]
        job = client.post("/merges?name=merged", json={"merge_method": "linear", "models": sources}).json()
        until(lambda: client.get(f"/jobs/{job['id']}").json()["state"] == "succeeded")
        listed = {model["id"] for model in client.get("/models").json()["items"]}
        refusal = client.post("/generate", json={"model": MODELS[2], "prompt": "Hello?"})
        metrics = client.get("/metrics").text

    assert listed == {*MODELS, job["model"]}
    assert refusal.status_code in (409, 503)
    assert 'polymerge_jobs_finished_total{kind="merge",state="succeeded"} 1.0' in metrics
    assert redis_server.denied() == []


def test_a_part_reaches_neither_the_server_s_own_commands_nor_the_others_keys(
    redis_server: GuardedRedis,
) -> None:
    with pytest.raises(AuthenticationError):
        redis_server.nobody.ping()
    for user in USERS:
        client = redis_server.client(user)
        for command in (
            "FLUSHALL",
            "KEYS *",
            "CONFIG GET *",
            "ACL LIST",
            "SHUTDOWN",
            "REPLICAOF NO ONE",
            "SAVE",
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    for user, key in (
        ("gateway", "rq:workers"),
        ("gateway", "of-another-service"),
        ("merge-worker", "polymerge:pins"),
        ("merge-worker", "polymerge:idempotency:x"),
        ("serve-worker", "polymerge:aliases"),
        ("serve-worker", "rq:queue:polymerge-jobs"),
    ):
        with pytest.raises(NoPermissionError):
            redis_server.client(user).delete(key)
