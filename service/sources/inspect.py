"""Everything about a source that can be refused, refused before a job is queued."""

from collections.abc import Mapping
from pathlib import Path

from service.contracts.model import ImportRequest, Manifest
from service.recipes.refusal import refuse
from service.sources import adapter
from service.sources.checkpoint import inspect_checkpoint
from service.sources.gguf_header import check_gguf
from service.sources.malformed import Malformed, refused_at
from service.sources.root import contained, under_root

_BFLOAT16_BYTES = 2


def inspect_source(request: ImportRequest, root: Path, base: Manifest | None) -> dict[str, Path]:
    """Check what lies under `root` by headers alone; `base` is an adapter's.

    Returns the files that make up the source: name -> real path. Raises Refused.
    """
    source = request.source
    if source.folder is not None:
        with refused_at("source", "folder"):
            return inspect_checkpoint(under_root(root, source.folder), root).files
    if source.gguf is not None:
        with refused_at("source", "gguf"):
            return _inspect_gguf(under_root(root, source.gguf))
    if base is None:
        raise refuse("base", detail="an adapter needs the registered model that it was trained on")
    with refused_at("source", "adapter"):
        return _inspect_adapter(under_root(root, source.adapter or ""), root, base)


def import_bytes(request: ImportRequest, files: Mapping[str, Path]) -> int:
    """Room that the import takes while it runs, about: a GGUF file is copied and then converted."""
    converted = 0
    if request.source.gguf is not None:
        converted = sum(check_gguf(path) for path in files.values()) * _BFLOAT16_BYTES
    return sum(path.stat().st_size for path in files.values()) + converted


def _inspect_gguf(path: Path) -> dict[str, Path]:
    if not path.is_file():
        raise Malformed(f"'{path.name}' is not a file")
    check_gguf(path)
    return {path.name: path}


def _inspect_adapter(folder: Path, root: Path, base: Manifest) -> dict[str, Path]:
    if not folder.is_dir():
        raise Malformed(f"'{folder.name}' is not a folder")
    files = {name: contained(root, folder / name) for name in (adapter.CONFIG, adapter.WEIGHTS)}
    adapter.inspect_adapter(folder, base)
    return files
