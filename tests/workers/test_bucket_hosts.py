"""Two hosts, each with a folder of its own, share a bucket and Redis, nothing else."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients import Polymerge
from clients.sdk.errors import ProblemError
from service.bucket.objects import Objects
from service.bucket.store import BucketStore
from service.connection import connect
from service.models.intact import read_through
from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import MergeSite
from tests.builders.s3_server import BUCKET, running_s3

ADDRESS = f"s3://{BUCKET}/team"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MergeSite]:
    """Models are registered from a third host."""
    with running_s3() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        site = MergeSite(tmp_path / "third", BucketStore(tmp_path / "third" / "store", Objects(ADDRESS)))
        yield site
        site.close()


def recipe(*models: str) -> dict[str, object]:
    return {"merge_method": "linear", "models": [{"model": m, "parameters": {"weight": 0.5}} for m in models]}


def test_one_host_merges_and_another_one_exports_verifies_merges_on_and_deletes(
    site: MergeSite, tmp_path: Path
) -> None:
    first, second = (
        {"POLYMERGE_STORE": ADDRESS, "POLYMERGE_DATA": str(tmp_path / name)} for name in ("one", "two")
    )
    with ExitStack() as hosts:
        worker = site.start_worker(**first)
        _, url = hosts.enter_context(running_gateway(site.redis.url, tmp_path / "two", **second))
        api = hosts.enter_context(Polymerge(url))

        merged = api.merge(recipe("slow-1", "slow-2"), name="merged")
        manifest = api.models.export("merged", tmp_path / "out")
        read_through(manifest, tmp_path / "out")
        assert "# Merge of 2 models" in (tmp_path / "out" / "README.md").read_text()
        assert api.models.verify("merged").state == "ready"

        site.kill(worker.pid)
        site.start_worker(**second)
        again = api.merge(recipe("merged", "slow-3"), name="again")

        copies = {
            name: {path.name for path in (tmp_path / name / "store" / "models").iterdir()}
            for name in ("one", "two")
        }
        assert merged.id in copies["one"] & copies["two"]
        assert again.id in copies["two"] - copies["one"]
        listed = [model.id for model in api.models.all()]
        connect(site.redis.url).flushdb()
        api.store.reindex()
        assert [model.id for model in api.models.all()] == listed

        api.models.delete("again", force=True)
        assert not site.store.has(again.id)
        with pytest.raises(ProblemError, match="no model"):
            api.models.get(again.id)
        assert api.models.restore(again.id).id == again.id
        assert site.store.has(again.id)
