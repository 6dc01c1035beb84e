"""The files beside the weights of a merged model: the donor's, and those that tell of what has changed."""

import json
from collections.abc import Callable
from pathlib import Path

from service.recipes.merged_config import merged_config
from service.recipes.plan import Plan
from service.recipes.vocabulary.files import changed_files
from service.sources.checkpoint import CARRIED, CONFIG
from service.sources.json_object import read_raw
from service.sources.malformed import refused_at


def lay_out_files(
    plan: Plan, folder: Callable[[str], Path], target: Path, copy: Callable[[Path, Path], object]
) -> set[str]:
    """Into `target`. `folder` is where a model's files are, `copy` brings those of the donor that stay.

    Returns the names of these. Raises Refused if a file that the result's must be made from is malformed.
    """

    def read(model: str, name: str) -> bytes | None:
        path = folder(model) / name
        return read_raw(path) if path.is_file() else None

    with refused_at():
        changed = changed_files(plan, read)
    donor = folder(plan.stored_donor)
    kept = {name for name in CARRIED if (donor / name).is_file()} - {CONFIG} - changed.keys()
    for name in kept:
        copy(donor / name, target / name)
    for name, content in changed.items():
        if content is not None:
            (target / name).write_bytes(content)
    configs = {model: json.loads((folder(model) / CONFIG).read_text()) for model in plan.configs}
    config = merged_config(configs, plan)
    (target / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return kept
