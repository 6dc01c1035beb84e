"""A model folder of the store as readable weights, whatever form its weights are in."""

from pathlib import Path

from service.contracts.model import Manifest
from service.models.store import MANIFEST
from service.sources.adapter import inspect_adapter
from workers.merging.weights import AdapterWeights, CheckpointWeights, Weights


def read_manifest(folder: Path) -> Manifest:
    """Raises FileNotFoundError."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def open_model(folder: Path) -> Weights:
    """The weights of the model in `folder`; an adapter's base lies beside it under its id."""
    manifest = read_manifest(folder)
    if manifest.weights == "checkpoint" or manifest.base is None:
        return CheckpointWeights(folder)
    base = folder.parent / manifest.base
    return AdapterWeights(open_model(base), inspect_adapter(folder, read_manifest(base)))
