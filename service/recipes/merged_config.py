"""config.json of a merged model: the donor's, with what the merge has changed."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from service.contracts.reference import split_reference
from service.recipes.dtypes import DTYPE_NAME
from service.recipes.plan import LayerRef, Plan
from service.recipes.vocabulary.token_ids import set_vocabulary

Config = dict[str, Any]

_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
_LAYER_NUMBERS = {
    "attn_layer_indices", "cross_attention_layers", "full_attn_idxs", "fullatt_block_indexes",
    "hybrid_layer_ids", "local_layer_ids", "mlp_only_layers", "moe_layers", "ple_layer_ids",
}  # fmt: skip
"""Lists of the numbers of layers that are special, where `layer_types` and its like say it of every layer."""
_PERCEPTION = ("vision", "visual", "audio", "speech")
"""What configs and stacks of layers are named by that are not the language model's."""


def merged_config(stored: Mapping[str, Config], plan: Plan) -> Config:
    """The donor's config with the dtype of the weights, if it is one, and the layers that slices made.

    `stored` has those of the donor and of every model that gives layers (`plan.configs`).
    """
    configs = {ref: _config(stored, plan, ref) for ref in plan.described_by}
    config = deepcopy(configs[plan.donor])
    dtypes = {task.dtype for task in plan.tasks if not task.copied}
    if len(dtypes) == 1:
        _set_dtype(config, DTYPE_NAME[dtypes.pop()])
    for stack, layers in plan.layers.items():
        for path, part in _parts(config):
            if _perceives(".".join(path)) == _perceives(stack):
                parts = {ref.model: _at(configs[ref.model], path) for ref in layers}
                part |= _relayered(part, layers, parts)
    if plan.vocabulary is not None:
        set_vocabulary(config, configs, plan.donor, plan.vocabulary)
    return config


def _config(stored: Mapping[str, Config], plan: Plan, reference: str) -> Config:
    """Of a model that a plan refers to; an adapter changes nothing of it."""
    model, _ = split_reference(reference)
    inner = plan.intermediates.get(model)
    return merged_config(stored, inner) if inner else stored[model]


def _set_dtype(config: Config, dtype: str) -> None:
    """At the top and wherever a part says it too, under its old name where that is there."""
    config["torch_dtype" if "torch_dtype" in config else "dtype"] = dtype
    for _, part in _parts(config):
        part |= {key: dtype for key in ("dtype", "torch_dtype") if key in part}


def _parts(config: Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Config]]:
    """`config` itself if it counts layers, and all configs within it that do."""
    if _count(config) is not None:
        yield path, config
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _parts(value, (*path, key))


def _at(config: Config, path: Sequence[str]) -> Config:
    """The part at `path`; empty if there is none."""
    for key in path:
        found = config.get(key)
        config = found if isinstance(found, dict) else {}
    return config


def _relayered(part: Config, layers: Sequence[LayerRef], parts: Mapping[str, Config]) -> Config:
    """What the new layers change in a config that counts them; `parts` has the same place of every model's.

    A list stays as it is if some model's config does not say what its layers have there.
    """
    changed: Config = {key: len(layers) for key in _LAYER_COUNTS if key in part}
    for key in part:
        lists = {model: other[key] for model, other in parts.items() if isinstance(other.get(key), list)}
        if lists.keys() != parts.keys():
            continue
        if key in _LAYER_NUMBERS:
            changed[key] = [new for new, ref in enumerate(layers) if ref.index in lists[ref.model]]
        elif all(_says_of_layer(parts[ref.model], key, ref.index) for ref in layers):
            changed[key] = [lists[ref.model][ref.index] for ref in layers]
    return changed


def _says_of_layer(part: Config, key: str, layer: int) -> bool:
    """Whether a list has a value for each layer, judging by its length, and is not one of tokens or names."""
    per_layer = len(part[key]) == _count(part) and "token" not in key and key != "architectures"
    return per_layer and layer < len(part[key])


def _count(part: Config) -> int | None:
    return next((part[key] for key in _LAYER_COUNTS if isinstance(part.get(key), int)), None)


def _perceives(name: str) -> bool:
    return any(word in name for word in _PERCEPTION)
