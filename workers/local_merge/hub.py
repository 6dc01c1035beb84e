"""Models of the Hugging Face hub: from its cache on this machine, else downloaded into it. No pickles."""

import re
from pathlib import Path

from service.sources.adapter import CONFIG as ADAPTER_CONFIG
from service.sources.adapter import WEIGHTS as ADAPTER_WEIGHTS
from service.sources.checkpoint import CARRIED, inspect_checkpoint
from service.sources.malformed import Malformed
from workers.local_merge.unusable import Unusable

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?")
_SECONDS = 15
_WANTED = ["*.json", "*.safetensors", "README.md", *CARRIED]
_UNWANTED = ["*/*"]
"""Copies in other formats lie in folders of the repository."""


def is_hub_id(reference: str) -> bool:
    """Whether it may be one: name, owner/name, or either with @revision."""
    return _ID.fullmatch(reference) is not None


def hub_folder(reference: str) -> Path:
    """The snapshot's folder in the cache: one that is there whole is taken without asking the hub.

    Raises Unusable.
    """
    repo, _, revision = reference.partition("@")
    cached = _cached(repo, revision or None)
    return cached if cached and _whole(cached) else _download(repo, revision or None)


def _cached(repo: str, revision: str | None) -> Path | None:
    # Imported when it is needed: most recipes name folders, and every merge would have to wait for it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                # A snapshot without the files that are never downloaded is not incomplete.
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
                local_files_only=True,
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _whole(folder: Path) -> bool:
    if all((folder / name).is_file() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)):
        return True
    try:
        inspect_checkpoint(folder, Path("/"))
    except (Malformed, OSError):
        return False
    return True


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        # Unlike the other calls, it does not try again for half a minute where there is no network.
        found = HfApi().model_info(repo, revision=revision, timeout=_SECONDS)
        _check_weights(repo, [file.rfilename for file in found.siblings or ()])
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except Unusable:
        raise
    # The hub's client raises errors of its own and of whichever HTTP library it uses.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unusable(
            f"'{repo}' is no folder, not whole in the Hugging Face cache, and can't be downloaded: {reason}"
        ) from None


def _check_weights(repo: str, files: list[str]) -> None:
    if any(name.endswith(".safetensors") and "/" not in name for name in files):
        return
    pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    if pickles:
        raise Unusable(f"{repo} has its weights only as pickles ({pickles[0]}), which run code: none is read")
    raise Unusable(f"{repo} has no *.safetensors")
