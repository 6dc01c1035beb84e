"""A store of the moment, whose models are links to folders of this machine: as if they had been imported.

Ids follow from the contents as in an import, so that a recipe gives the same tensors here and in a service.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from service.contracts.model import FileEntry, Manifest, TensorEntry
from service.models.store import MANIFEST, Store
from service.recipes.refusal import Refused
from service.sources import adapter
from service.sources.checkpoint import CARRIED, inspect_checkpoint
from service.sources.files import content_digest, import_id
from service.sources.malformed import Malformed
from workers.local_merge.local_models import LocalModel
from workers.local_merge.unusable import Unusable

_ANYWHERE = Path("/")
"""Links may lead out of a model's folder, as in the hub's cache: it is the user's own disk."""

Entry = Callable[[Path], FileEntry]
"""The size and digest of a file."""


def link_models(models: Mapping[str, LocalModel], store: Store, entry: Entry) -> dict[str, str]:
    """Put the models, and the bases of adapters, into `store`; reference -> id. Raises Unusable."""
    return {reference: _link(model, store, entry).id for reference, model in models.items()}


def files_of(models: Mapping[str, LocalModel]) -> set[Path]:
    """All that must be read to know the models' digests. Raises Unusable."""
    return {path for model in models.values() for path in _files(model)}


def _files(model: LocalModel) -> Iterator[Path]:
    if model.base:
        yield from (model.folder / adapter.CONFIG, model.folder / adapter.WEIGHTS)
        yield from _files(model.base)
    else:
        yield from _inspect(model)[0].values()


def _link(model: LocalModel, store: Store, entry: Entry) -> Manifest:
    if model.base:
        return _link_adapter(model, _link(model.base, store, entry), store, entry)
    files, tensors = _inspect(model)
    return _add(model, files, tensors, None, store, entry)


def _link_adapter(model: LocalModel, base: Manifest, store: Store, entry: Entry) -> Manifest:
    try:
        adapter.inspect_adapter(model.folder, base)
    except Refused as error:
        raise Unusable(f"{model.name}: {error.problems[0].detail}") from None
    files = {name: model.folder / name for name in (adapter.CONFIG, adapter.WEIGHTS)}
    files |= {name: store.path(base.id) / name for name in CARRIED if name in base.files}
    return _add(model, files, base.tensors, base, store, entry)


def _inspect(model: LocalModel) -> tuple[dict[str, Path], dict[str, TensorEntry]]:
    try:
        found = inspect_checkpoint(model.folder, _ANYWHERE)
    except (Malformed, OSError) as error:
        raise Unusable(f"{model.name}: {error}") from None
    return found.files, found.tensors


def _add(
    model: LocalModel,
    files: Mapping[str, Path],
    tensors: dict[str, TensorEntry],
    base: Manifest | None,
    store: Store,
    entry: Entry,
) -> Manifest:
    entries = {name: entry(path) for name, path in files.items()}
    digest = content_digest(entries)
    manifest = Manifest(
        id=import_id(digest, base.id if base else None),
        kind="import",
        weights="adapter" if base else "checkpoint",
        license=_license(model.folder),
        base=base.id if base else None,
        content_digest=digest,
        files=entries,
        tensors=tensors,
        size_bytes=sum(item.size for item in entries.values()),
        created_at=datetime.now(UTC),
    )
    folder = store.path(manifest.id)
    if not folder.exists():
        folder.mkdir()
        for name, path in files.items():
            (folder / name).symlink_to(path.resolve())
        (folder / MANIFEST).write_text(manifest.model_dump_json())
    return manifest


def _license(folder: Path) -> str | None:
    """As the model's card says in its front matter, or its config."""
    for stated in (_front_matter(folder / "README.md"), _config(folder / "config.json")):
        found = stated.get("license")
        if isinstance(found, str):
            return found[:64]
    return None


def _front_matter(card: Path) -> dict[str, Any]:
    try:
        _, matter, _ = card.read_text(encoding="utf-8").split("---\n", 2)
        found = yaml.safe_load(matter)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
