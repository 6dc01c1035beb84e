"""The files beside the weights of a merged model: the donor's, and a config of its own."""

import json
from collections.abc import Callable
from pathlib import Path

from service.recipes.merged_config import merged_config
from service.recipes.plan import Plan
from service.sources.checkpoint import CARRIED, CONFIG


def lay_out_files(
    plan: Plan, folder: Callable[[str], Path], target: Path, copy: Callable[[Path, Path], object]
) -> None:
    """Into `target`. `folder` is where a model's files are, `copy` brings the donor's."""
    donor = folder(plan.stored_donor)
    for name in CARRIED:
        if name != CONFIG and (donor / name).is_file():
            copy(donor / name, target / name)
    configs = {model: json.loads((folder(model) / CONFIG).read_text()) for model in plan.configs}
    config = merged_config(configs, plan)
    (target / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
