"""Brings a source into staging: what is there afterwards is the model's folder, but for the manifest."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.contracts.model import FileEntry, ImportRequest, Manifest, TensorEntry, WeightFormat
from service.sources.adapter import inspect_adapter
from service.sources.checkpoint import CARRIED, inspect_checkpoint
from service.sources.files import content_digest, hash_file
from service.sources.gguf_header import check_gguf
from service.sources.inspect import inspect_source
from service.sources.malformed import refused_at
from workers.importing.copying import copy_files
from workers.importing.gguf import convert

Progress = Callable[[int, int], None]
"""Bytes done and bytes in all; it may raise to stop the work."""
_BFLOAT16_BYTES = 2
_COPY = "model.gguf"
"""The same whatever the source is called, in case transformers writes it down."""


@dataclass(frozen=True)
class Staged:
    """What lies in staging. `tensors` are the whole model's: an adapter has its base's."""

    weights: WeightFormat
    files: dict[str, FileEntry]
    tensors: dict[str, TensorEntry]

    @property
    def content_digest(self) -> str:
        return content_digest(self.files)


def stage_source(
    request: ImportRequest,
    sources_root: Path,
    base: Manifest | None,
    base_folder: Path | None,
    staging: Path,
    progress: Progress,
) -> Staged:
    """Copy or convert the source into `staging`, and check the copy: the source may change at any time.

    An adapter's folder gets its base's config and tokenizer beside the factors, so that it is served and
    merged like any model. Raises Refused, OSError, and whatever `progress` raises.
    """
    found = inspect_source(request, sources_root, base)
    if request.source.gguf is not None:
        return _stage_gguf(next(iter(found.values())), staging, progress)
    if base is None or base_folder is None:
        files = _copy(found, staging, progress)
        with refused_at("source", "folder"):
            return Staged("checkpoint", files, inspect_checkpoint(staging, staging).tensors)
    carried = {name: base_folder / name for name in CARRIED if name in base.files}
    files = _copy(found | carried, staging, progress)
    inspect_adapter(staging, base)
    return Staged("adapter", files, base.tensors)


def _copy(files: dict[str, Path], staging: Path, progress: Progress) -> dict[str, FileEntry]:
    total = sum(path.stat().st_size for path in files.values())
    return copy_files(files, staging, lambda done: progress(done, total))


def _stage_gguf(source: Path, staging: Path, progress: Progress) -> Staged:
    """Convert a copy that has no other files around it, which transformers might read."""
    with refused_at("source", "gguf"):
        made = check_gguf(source) * _BFLOAT16_BYTES
    size = source.stat().st_size
    aside = staging / "source"
    aside.mkdir()
    copy_files({_COPY: source}, aside, lambda done: progress(done, size + made))
    with refused_at("source", "gguf"):
        check_gguf(aside / _COPY)
    convert(aside / _COPY, staging, lambda: progress(size, size + made))
    shutil.rmtree(aside)
    with refused_at("source", "gguf"):
        tensors = inspect_checkpoint(staging, staging).tensors
    files = {path.name: hash_file(path) for path in sorted(staging.iterdir())}
    progress(size + made, size + made)
    return Staged("checkpoint", files, tensors)
