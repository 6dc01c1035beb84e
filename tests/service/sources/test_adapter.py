"""Plain LoRA adapters are understood as PEFT means them; every other adapter is refused with a reason."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.recipes.refusal import Refused
from service.sources.adapter import inspect_adapter

from .build import BASE, LORA, adapter, factors, manifest, safetensors

Q0 = "model.layers.0.self_attn.q_proj"
Q1 = "model.layers.1.self_attn.q_proj"


def test_pairs_name_the_base_tensor_and_both_factors(tmp_path: Path) -> None:
    found = inspect_adapter(adapter(tmp_path / "a"), manifest(BASE))
    a, b = factors()
    assert found.pairs == {f"{Q0}.weight": (a, b, 2.0)}


@pytest.mark.parametrize(
    ("changes", "ranks", "scalings"),
    [
        ({}, (4, 4), (2.0, 2.0)),
        ({"use_rslora": True}, (4, 4), (4.0, 4.0)),
        ({"rank_pattern": {"layers.1.self_attn.q_proj": 2}}, (4, 2), (2.0, 4.0)),
        ({"alpha_pattern": {"q_proj": 6, Q1: 100}}, (4, 4), (1.5, 1.5)),
        ({"alpha_pattern": {"proj": 6}}, (4, 4), (2.0, 2.0)),
        ({"alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 1}}, (4, 4), (2.0, 0.25)),
    ],
)
def test_scaling_follows_alpha_rank_and_patterns(
    tmp_path: Path, changes: dict[str, Any], ranks: tuple[int, int], scalings: tuple[float, float]
) -> None:
    tensors = factors(ranks[0], Q0) | factors(ranks[1], Q1)
    found = inspect_adapter(adapter(tmp_path / "a", LORA | changes, tensors), manifest(BASE))
    assert tuple(found.pairs[f"{module}.weight"][2] for module in (Q0, Q1)) == scalings


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"peft_type": None}, "only LORA"),
        ({"use_dora": True}, "'use_dora' is set"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save' is set"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"fan_in_fan_out": True}, "'fan_in_fan_out' is set"),
        ({"trainable_token_indices": [1, 2]}, "'trainable_token_indices' is set"),
        ({"layer_replication": [[0, 4]]}, "'layer_replication' is set"),
        ({"a_variant_of_next_year": {"x": 1}}, "'a_variant_of_next_year' is set"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base"),
        ({"use_rslora": "yes"}, "use_rslora"),
        ({"r": 0}, "rank of"),
        ({"r": "4"}, "rank of"),
        ({"r": 8}, "rank 8"),
        ({"lora_alpha": None}, "lora_alpha of"),
        ({"lora_alpha": 1e300}, "lora_alpha of"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "not a plain module name"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be an object"),
    ],
)
def test_other_variants_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    _refused(adapter(tmp_path / "a", LORA | changes), reason)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            factors(module="model.layers.2.self_attn.q_proj"),
            "no tensor 'model.layers.2.self_attn.q_proj.weight'",
        ),
        (factors(module="model.norm"), "has shape [10]; LoRA needs a matrix"),
        (dict([next(iter(factors().items()))]), "has no counterpart"),
        (factors() | {"base_model.model.lm_head.weight": ("F32", [2, 2])}, "is no LoRA factor"),
        (
            {"base_model.model.model.embed_tokens.lora_embedding_A": ("F32", [4, 6])},
            "is no LoRA factor of a linear layer",
        ),
        ({name: ("F32", shape[::-1]) for name, (_, shape) in factors().items()}, "has shape [10, 4]; rank 4"),
        ({name: ("I64", shape) for name, (_, shape) in factors().items()}, "dtype I64"),
    ],
)
def test_factors_must_fit_the_base(
    tmp_path: Path, tensors: Mapping[str, tuple[str, list[int]]], reason: str
) -> None:
    _refused(adapter(tmp_path / "a", LORA, tensors), reason)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "adapter_config.json").write_text(json.dumps([LORA]))
    _refused(folder, "adapter_config.json is not a JSON object")
    (folder / "adapter_config.json").unlink()
    _refused(folder, "no adapter_config.json")
    (folder / "adapter_model.safetensors").write_bytes(safetensors(factors())[:-1])
    (folder / "adapter_config.json").write_text(json.dumps(LORA))
    _refused(folder, "truncated")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    _refused(folder, "pickle runs code")


def _refused(folder: Path, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        inspect_adapter(folder, manifest(BASE))
    [problem] = caught.value.problems
    assert problem.pointer == "/source/adapter"
    assert reason in problem.detail
