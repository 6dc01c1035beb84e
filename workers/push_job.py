"""A push job: read the model through, and upload it to the hub."""

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

from service.contracts.job import Job
from service.contracts.push import Push
from service.models.intact import read_through
from service.models.store import MANIFEST, Store
from service.settings import Settings
from workers.push_failed import PushFailed
from workers.watch import Watch

_LOOK_SECONDS = 0.2

T = TypeVar("T")


def run_push(job: Job, store: Store, settings: Settings, watch: Watch) -> str:
    """The address of the commit that has the model. Raises PushFailed, Damaged, JobCancelled."""
    # Imported when it is needed: every worker would have to wait for the hub's client.
    from workers.hub_upload import upload

    push = Push.model_validate(job.request)
    token = os.environ.get("HF_TOKEN")
    if not settings.hub_push or not token:
        raise PushFailed("this worker does not push: that takes POLYMERGE_HUB_PUSH=1 and a token in HF_TOKEN")
    if not store.written(push.model):
        raise PushFailed(f"model {push.model} is gone from the store")
    folder, manifest = store.fetch(push.model, watch), store.manifest(push.model)
    paths = [folder / name for name in (*manifest.files, MANIFEST)]

    def sent(size: int) -> None:
        watch.check()
        watch.add(size)

    def read_and_upload() -> str:
        read_through(manifest, folder)
        return upload(paths, manifest.files, push, token, sent)

    watch.expect(sum(path.stat().st_size for path in paths))
    return _cancellable(read_and_upload, watch)


def _cancellable(work: Callable[[], T], watch: Watch) -> T:
    """What `work` returns. Whatever it hangs in, a cancelled job ends at once, and its process with it."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    while not done.done():
        wait([done], _LOOK_SECONDS)
        watch.check()
    return done.result()
