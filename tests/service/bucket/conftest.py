"""A real S3 server for all tests of a module, and a part of its bucket for each."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from service.bucket.objects import Objects
from service.bucket.store import BucketStore
from tests.builders.s3_server import BUCKET, running_s3

_prefixes = count(1)

Host = Callable[..., BucketStore]
"""Makes the store as a host has it; every host has a folder of its own."""


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with running_s3() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def objects(s3: None) -> Objects:
    """Nothing is in it."""
    return Objects(f"s3://{BUCKET}/team/{next(_prefixes)}")


@pytest.fixture
def host(objects: Objects, tmp_path: Path) -> Host:
    def host(name: str, orphaned: timedelta = timedelta(days=1)) -> BucketStore:
        return BucketStore(tmp_path / name, objects, orphaned)

    return host
