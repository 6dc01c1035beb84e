"""Uploads a model's files to a repository on the Hugging Face hub, with the hub's own client."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import disable_progress_bars

from service.contracts.model import FileEntry
from service.contracts.push import Push
from workers.push_failed import PushFailed

log = logging.getLogger("polymerge.push")

_PAUSES = (1.0, 5.0, 15.0)
"""Seconds before a call is tried again; for uploads, the client itself does that before."""
_ANYBODYS = {".gitattributes", "README.md"}
"""Files that a repository may have although the model has not."""

T = TypeVar("T")


def upload(
    paths: Sequence[Path], known: Mapping[str, FileEntry], push: Push, token: str, sent: Callable[[int], None]
) -> str:
    """Make the branch hold the files, in one commit, and return its address.

    `known` are digests, which spare reading those files once more. `sent` hears each file's size when the hub
    has the file, and may raise. What the hub has already is not sent. Raises PushFailed.
    """
    disable_progress_bars()
    # Its warnings have addresses in them with which anybody may upload.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    hub, repository, branch = HfApi(token=token), push.repository, push.revision
    _ask(lambda: hub.create_repo(repository, private=push.private, exist_ok=True))
    if branch != "main":
        _ask(lambda: hub.create_branch(repository, branch=branch, exist_ok=True))
    _check_files(push, _ask(lambda: hub.list_repo_files(repository, revision=branch)), paths)
    additions = [CommitOperationAdd(path.name, path) for path in paths]
    for addition in additions:
        if addition.path_in_repo in known:
            addition.upload_info.sha256 = bytes.fromhex(known[addition.path_in_repo].sha256)
        _ask(partial(hub.preupload_lfs_files, repository, [addition], revision=branch, free_memory=False))
        sent(addition.upload_info.size)
    message = f"Polymerge model {push.model}"
    commit = _ask(lambda: hub.create_commit(repository, additions, commit_message=message, revision=branch))
    return str(commit.commit_url)


def _check_files(push: Push, there: Sequence[str], paths: Sequence[Path]) -> None:
    """What another model left there would be read as part of this one. Raises PushFailed."""
    foreign = sorted(set(there) - {path.name for path in paths} - _ANYBODYS)
    if foreign:
        raise PushFailed(
            f"{push.repository} has files on branch {push.revision} that the model has not, "
            f"such as {foreign[0]}: choose a new repository or another branch"
        )


def _ask(call: Callable[[], T]) -> T:
    """What `call` returns; what may pass is tried again. Raises PushFailed."""
    pauses = list(_PAUSES)
    while True:
        try:
            return call()
        except Exception as error:
            if not pauses or not _may_pass(error):
                # Not as its cause, whose text may have addresses with signatures.
                raise PushFailed(_explain(error)) from None
            log.warning("will be tried again: %s", _explain(error))
        time.sleep(pauses.pop(0))


def _may_pass(error: Exception) -> bool:
    answer = _answer(error)
    if answer is None:
        # The client's own refusals are ValueErrors; the rest are errors of whichever transport it uses.
        return not isinstance(error, ValueError)
    status = answer.response.status_code
    return status in (408, 429) or status >= 500


def _explain(error: Exception) -> str:
    answer = _answer(error)
    if answer is None:
        first = (str(error).strip().splitlines() or [""])[0]
        return f"the hub can't be reached or understood: {type(error).__name__}: " + _unsigned(first)
    status, said = answer.response.status_code, _unsigned(answer.server_message or "no reason given")
    if status == 401:
        return f"the hub does not know the worker's HF_TOKEN (401: {said})"
    if status == 403:
        return f"the worker's HF_TOKEN does not allow it (403: {said})"
    return f"the hub answered {status}: {said}"


def _answer(error: BaseException | None) -> HfHubHTTPError | None:
    """The client's error for an answer of the hub; for uploads it is the cause of another one."""
    while error is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    return error


def _unsigned(text: str) -> str:
    return re.sub(r"\?\S+", "", text)
