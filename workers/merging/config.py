"""config.json of a merged model: the donor's, with what the merge has changed."""

from typing import Any

from service.recipes.plan import Plan
from workers.merging.engine import TORCH_DTYPES

_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers")


def merged_config(config: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """`config` with the dtype of the weights, if it is one, and the number of layers that slices made."""
    changed = dict(config)
    dtypes = {task.dtype for task in plan.tasks if not task.copied}
    if len(dtypes) == 1:
        changed.pop("torch_dtype", None)
        changed["dtype"] = str(TORCH_DTYPES[dtypes.pop()]).removeprefix("torch.")
    if plan.layers is not None:
        changed |= {key: plan.layers for key in _LAYER_COUNTS if key in config}
    return changed
