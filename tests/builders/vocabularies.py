"""Models whose vocabularies differ, tokenizers made up on the spot, and merges written as whole folders."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from service.recipes.parse import validate_recipe
from service.recipes.plan import Plan, make_plan
from service.recipes.result_files import lay_out_files
from service.sources.safetensors_header import read_header
from service.sources.tokenizer_json import token_source
from workers.merging.engine import merge
from workers.merging.weights import CheckpointWeights

GOLDEN = Path(__file__).parents[1] / "golden" / "vocabulary"
MODELS = {name: GOLDEN / "models" / name for name in ("core", "plus", "other")}
Folders = Mapping[str, Path]


def plan_of(recipe: Any, folders: Folders = MODELS) -> Plan:
    checked = validate_recipe(recipe)
    tables = {name: read_header(folders[name] / "model.safetensors") for name in checked.references()}
    return make_plan(checked, tables, 0, None, lambda name: token_source(folders[name]))


def write_merge(recipe: Any, out: Path, folders: Folders = MODELS, **options: Any) -> Path:
    """The result of a recipe as a model folder; `options` go to the engine."""
    plan = plan_of(recipe, folders)
    weights = {name: CheckpointWeights(folders[name]) for name in plan.models}
    out.mkdir(exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in merge(plan, weights, **options)}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    lay_out_files(plan, folders.__getitem__, out, shutil.copyfile)
    return out


def tokenizer_document(
    words: Mapping[str, int], added: Sequence[str] = (), merges: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """tokenizer.json of a BPE model. `added` get the ids that follow, unless they are words."""
    rest = iter(range(len(words), len(words) + len(added)))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    entries = [{"id": words.get(token, next(rest)), "content": token, **flags} for token in added]
    steps = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    model = {"type": "BPE", "vocab": dict(words), "merges": list(merges)}
    return {"version": "1.0", **dict.fromkeys(steps), "added_tokens": entries, "model": model, **more}
