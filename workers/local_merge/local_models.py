"""The models that a recipe names, as folders of this machine."""

from dataclasses import dataclass
from pathlib import Path

from service.contracts.recipe import Recipe
from service.contracts.reference import split_reference
from service.sources.adapter import CONFIG as ADAPTER_CONFIG
from service.sources.checkpoint import CONFIG
from service.sources.json_object import read_object
from service.sources.malformed import Malformed
from workers.local_merge.hub import hub_folder, is_hub_id
from workers.local_merge.unusable import Unusable


@dataclass(frozen=True)
class LocalModel:
    name: str
    """For people: the hub's, or the folder's."""
    folder: Path
    base: "LocalModel | None" = None
    """What an adapter was trained on."""


def find_models(recipe: Recipe) -> dict[str, LocalModel]:
    """By reference: a folder (absolute, or seen from the working directory) or a hub id. Raises Unusable.

    In `model+adapter` that model is the adapter's base; an adapter by itself says what its base is.
    """
    references = recipe.references()
    over = {
        adapter: model
        for _, reference in recipe.all_mentions()
        for model, adapter in [split_reference(reference)]
        if adapter and model in references
    }
    return {reference: _find(reference, over.get(reference)) for reference in references}


def _find(reference: str, base: str | None = None) -> LocalModel:
    path = Path(reference).expanduser()
    if path.is_dir():
        return _described(path.resolve().name, path.resolve(), base)
    if path.exists():
        raise Unusable(f"'{reference}' is a file; a model is a folder with {CONFIG} and safetensors")
    if not is_hub_id(reference):
        raise Unusable(f"there is no folder '{reference}' (seen from {Path.cwd()})")
    return _described(reference, hub_folder(reference), base)


def _described(name: str, folder: Path, base: str | None) -> LocalModel:
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / CONFIG).is_file():
        return LocalModel(name, folder)
    try:
        return LocalModel(name, folder, _find(base or _trained_on(name, folder)))
    except Unusable as error:
        raise Unusable(f"{name} is an adapter for a model that can't be had: {error}") from None


def _trained_on(name: str, folder: Path) -> str:
    try:
        base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    except Malformed as error:
        raise Unusable(f"{name}: {error}") from None
    if not isinstance(base, str) or not base:
        raise Unusable(f"{name}: {ADAPTER_CONFIG} does not say what model it is for; write model+adapter")
    return base
