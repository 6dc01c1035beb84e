"""The modules of a checkpoint that has several, by what its tensors are called.

They have mergekit's names: `text_decoder`, `vision_tower` and `multi_modal_projector` of a vision-language
model, `encoder`, `decoder` and `shared` of an encoder-decoder.
"""

import re
from collections.abc import Mapping

from service.contracts.model import TensorEntry
from service.contracts.problem import Place
from service.recipes.refusal import nearest, refuse
from service.recipes.tensor_names import TensorTable

_MODULES = {
    "multi_modal_projector": r"visual\.(merger|deepstack_merger_list)|multi_modal_projector|mm_projector"
    r"|connector|aligner|embed_vision|embed_audio",
    "vision_tower": r"vision_tower|visual|vision_encoder",
    "vision_model": r"vision_model",
    "audio_tower": r"audio_tower|audio_encoder",
    "encoder": r"encoder",
    "decoder": r"decoder",
}
_PATTERNS = {name: re.compile(rf"(model\.)?({pattern})\.") for name, pattern in _MODULES.items()}


def split_modules(table: TensorTable) -> dict[str, dict[str, TensorEntry]]:
    """Every module's tensors; a checkpoint that is all one has a single module."""
    found: dict[str, dict[str, TensorEntry]] = {}
    rest: dict[str, TensorEntry] = {}
    for name, entry in table.items():
        module = next((module for module, pattern in _PATTERNS.items() if pattern.match(name)), None)
        (found.setdefault(module, {}) if module else rest)[name] = entry
    remainder = "shared" if {"encoder", "decoder"} <= found.keys() else "text_decoder"
    return found | ({remainder: rest} if rest else {})


def within_module(
    tables: Mapping[str, TensorTable], module: str, donor: str, place: Place
) -> dict[str, TensorTable]:
    """What each model has of a module. Raises Refused at `place` if the donor has no such module."""
    modules = split_modules(tables[donor])
    if len(modules) < 2:
        detail = f"{donor} is all one module: write models or slices in place of modules"
        raise refuse(*place, detail=detail)
    if module not in modules:
        detail = f"{donor} has no module '{module}': {nearest(module, modules)}"
        raise refuse(*place, detail=detail)
    return {model: split_modules(table).get(module, {}) for model, table in tables.items()}
