"""Brings a model's files from the service into a folder, each compared with its digest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from clients.sdk.connection import Connection
from clients.sdk.errors import PolymergeError
from service.contracts.model import FileEntry, Manifest

_MANIFEST = "manifest.json"


class ExportError(PolymergeError):
    """The folder can't be used, or what came is not what the model has."""


def export(
    connection: Connection, reference: str, folder: Path, read: Callable[[int, int], None]
) -> Manifest:
    """`read` hears of bytes done and bytes in all. Files that are there in full are kept.

    Raises ExportError, ProblemError, Unreachable, OSError.
    """
    manifest = Manifest.model_validate_json(connection.get(f"/models/{reference}/manifest").content)
    _check_folder(folder, manifest)
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for name, entry in manifest.files.items():
        target = folder / name
        if not (target.is_file() and _sha256(target) == entry.sha256):
            _fetch(connection, f"/models/{manifest.id}/files/{name}", entry, target)
        done += entry.size
        read(done, manifest.size_bytes)
    # Last, so that a folder which has it is whole.
    (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _check_folder(folder: Path, manifest: Manifest) -> None:
    """What another model left there would be read as part of this one."""
    names = {path.name.removesuffix(".part") for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(names - manifest.files.keys() - {_MANIFEST})
    if foreign:
        raise ExportError(f"{folder} has other files in it, such as {foreign[0]}: choose an empty folder")


def _fetch(connection: Connection, path: str, entry: FileEntry, target: Path) -> None:
    partial, digest = target.with_name(f"{target.name}.part"), hashlib.sha256()
    with connection.download(path) as chunks, partial.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != entry.sha256:
        raise ExportError(f"{target.name} came with other bytes than the manifest says; verify the model")
    partial.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
