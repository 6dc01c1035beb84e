"""Rebuild the golden merge results from mergekit, the oracle of the merge engine's tests.

Writes inputs.safetensors, config.json, adapters/, outputs/ and statistics.json next to this file.
Run it with an interpreter that has mergekit installed; README.md gives the commands and the versions.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from json import dumps
from pathlib import Path
from typing import Any

import torch
import yaml
from mergekit.config import MergeConfiguration  # type: ignore[import-not-found,import-untyped,unused-ignore]
from mergekit.merge import MergeOptions, run_merge  # type: ignore[import-not-found,import-untyped,unused-ignore]
from mergekit.scripts.multimerge import main as multimerge  # type: ignore[import-not-found,import-untyped,unused-ignore]
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    Mistral3Config,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedConfig,
)

Tensors = dict[str, torch.Tensor]

HERE = Path(__file__).resolve().parent
ADAPTERS = HERE / "adapters"
SEED = 20260
MERGEKIT = "0.1.5"
RANDOM_METHODS = ("dare_linear", "dare_ties", "della_linear")


def model_config(tied: bool = False) -> LlamaConfig:
    """A Llama too small to speak: grouped-query attention, three layers, no square MLP."""
    return LlamaConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def gpt2_config() -> GPT2Config:
    """Transposed weights, biases, learned positions, a tied head, and `n_layer`."""
    return GPT2Config(
        vocab_size=20,
        n_embd=12,
        n_layer=3,
        n_head=2,
        n_positions=16,
        architectures=["GPT2LMHeadModel"],
        dtype="float32",
    )


def vision_config() -> Mistral3Config:
    """A vision-language model of three modules, the text decoder shaped as the others."""
    text = MistralConfig(
        **{
            key: getattr(model_config(), key)
            for key in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
            )
        },
        head_dim=6,
    )
    vision = PixtralVisionConfig(
        hidden_size=8, intermediate_size=10, num_hidden_layers=2, num_attention_heads=2, patch_size=2
    )
    return Mistral3Config(
        text_config=text,
        vision_config=vision,
        architectures=["Mistral3ForConditionalGeneration"],
        dtype="float32",
    )


def vision_shapes(config: Mistral3Config) -> dict[str, tuple[int, ...]]:
    text, vision = config.text_config, config.vision_config
    wide, inner = vision.hidden_size, vision.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        f"language_model.{name}": shape for name, shape in tensor_shapes(model_config())
    }
    shapes["vision_tower.patch_conv.weight"] = (wide, 3, vision.patch_size, vision.patch_size)
    shapes["vision_tower.ln_pre.weight"] = (wide,)
    for layer in range(vision.num_hidden_layers):
        prefix = f"vision_tower.transformer.layers.{layer}"
        for norm in ("attention_norm", "ffn_norm"):
            shapes[f"{prefix}.{norm}.weight"] = (wide,)
        for part in "qkvo":
            shapes[f"{prefix}.attention.{part}_proj.weight"] = (wide, wide)
        for part in ("gate_proj", "up_proj"):
            shapes[f"{prefix}.feed_forward.{part}.weight"] = (inner, wide)
        shapes[f"{prefix}.feed_forward.down_proj.weight"] = (wide, inner)
    shapes["multi_modal_projector.norm.weight"] = (wide,)
    shapes["multi_modal_projector.patch_merger.merging_layer.weight"] = (wide, 4 * wide)
    shapes["multi_modal_projector.linear_1.weight"] = (text.hidden_size, wide)
    shapes["multi_modal_projector.linear_2.weight"] = (text.hidden_size, text.hidden_size)
    return shapes


def layer_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    keys = hidden * config.num_key_value_heads // config.num_attention_heads
    return {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def tensor_shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (config.vocab_size, config.hidden_size)
    for layer in range(config.num_hidden_layers):
        for name, shape in layer_shapes(config).items():
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (config.hidden_size,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, config.hidden_size)


def random_model(config: LlamaConfig, rng: torch.Generator) -> Tensors:
    """Matrices around 0 with spread 0.1, norm weights around 1 with spread 0.1."""
    return random_tensors(tensor_shapes(config), rng)


def random_tensors(shapes: Iterable[tuple[str, tuple[int, ...]]], rng: torch.Generator) -> Tensors:
    return {name: 0.1 * torch.randn(shape, generator=rng) + (len(shape) == 1) for name, shape in shapes}


def random_gpt2(rng: torch.Generator) -> Tensors:
    parameters = GPT2LMHeadModel(gpt2_config()).named_parameters()
    return {name: 0.1 * torch.randn(parameter.shape, generator=rng) for name, parameter in parameters}


def tuned(base: Tensors, rng: torch.Generator, *, scale: float, zeros: float = 0, power: int = 1) -> Tensors:
    """The base plus noise; a share `zeros` stays untouched, an odd `power` > 1 makes heavy tails."""
    result = {}
    for name, tensor in base.items():
        noise = torch.randn(tensor.shape, generator=rng) ** power
        changed = torch.rand(tensor.shape, generator=rng) >= zeros
        result[name] = torch.where(changed, tensor + scale * noise, tensor)
    return result


def edge_cases(base: Tensors) -> Tensors:
    """Layer 0 is the base negated, layer 1 doubled, layer 2 zero; all else equals the base."""
    factors = {"model.layers.0.": -1.0, "model.layers.1.": 2.0, "model.layers.2.": 0.0}
    return {
        name: tensor * next((f for prefix, f in factors.items() if name.startswith(prefix)), 1.0)
        for name, tensor in base.items()
    }


def input_models() -> dict[str, Tensors]:
    rng = torch.Generator().manual_seed(SEED)
    base = random_model(model_config(), rng)
    tied = random_model(model_config(tied=True), rng)
    llamas = {
        "base": base,
        "expert-a": tuned(base, rng, scale=0.02),
        "expert-b": tuned(base, rng, scale=0.03, zeros=0.3),
        "expert-c": tuned(base, rng, scale=0.01, zeros=0.7, power=3),
        "near": tuned(base, rng, scale=0.0005),
        "edge": edge_cases(base),
        "tied-base": tied,
        "tied-a": tuned(tied, rng, scale=0.02),
    }
    gpt2 = random_gpt2(rng)
    gpt2s = {f"gpt2-{name}": tuned(gpt2, rng, scale=0.02) for name in "ab"}
    vision = random_tensors(vision_shapes(vision_config()).items(), rng)
    visions = {"vision-base": vision, "vision-a": tuned(vision, rng, scale=0.02)}
    visions["vision-b"] = tuned(vision, rng, scale=0.03, zeros=0.3)
    return {**llamas, "gpt2-base": gpt2, **gpt2s, **visions}


def config_of(name: str, tensors: Tensors) -> PreTrainedConfig:
    if name.startswith("gpt2"):
        return gpt2_config()
    if name.startswith("vision"):
        return vision_config()
    return model_config(tied="lm_head.weight" not in tensors)


def write_models(models: dict[str, Tensors], folder: Path) -> None:
    for name, tensors in models.items():
        target = folder / name
        target.mkdir()
        config_of(name, tensors).save_pretrained(target)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def write_adapters() -> None:
    """LoRA factors for two kinds of modules of the first two layers, as PEFT saves them."""
    rng = torch.Generator().manual_seed(SEED + 1)
    config = model_config()
    rank = 2
    factors: Tensors = {}
    for layer in range(2):
        for module in ("self_attn.q_proj", "mlp.down_proj"):
            rows, columns = layer_shapes(config)[module]
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            factors[f"{prefix}.lora_A.weight"] = 0.1 * torch.randn(rank, columns, generator=rng)
            factors[f"{prefix}.lora_B.weight"] = 0.1 * torch.randn(rows, rank, generator=rng)
    target = ADAPTERS / "lora"
    target.mkdir(parents=True, exist_ok=True)
    save_file(factors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "base",
        "r": rank,
        "lora_alpha": 6,
        "bias": "none",
        "target_modules": ["q_proj", "down_proj"],
        "layers_to_transform": [0, 1],
    }
    (target / "adapter_config.json").write_text(dumps(described, indent=2) + "\n", encoding="utf-8")


def with_paths(node: Any, models: Path) -> Any:
    """The recipe with every model and adapter name replaced by its folder; other names are intermediates'."""
    if isinstance(node, list):
        return [with_paths(item, models) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: with_path(value, models) if key in ("model", "base_model") else with_paths(value, models)
        for key, value in node.items()
    }


def with_path(reference: str, models: Path) -> str:
    model, _, adapter = reference.partition("+")
    folder = str(models / model) if (models / model).is_dir() else model
    return f"{folder}+{ADAPTERS / adapter}" if adapter else folder


def merge(recipe: Any, models: Path) -> Tensors:
    """A list is several documents, each but the last with a name."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        if isinstance(recipe, list):
            merge_documents(with_paths(recipe, models), Path(scratch), out)
        else:
            options = MergeOptions(
                device="cpu",
                copy_tokenizer=False,
                write_model_card=False,
                quiet=True,
                random_seed=SEED,
                lora_merge_cache=str(Path(scratch) / "loras"),
            )
            run_merge(MergeConfiguration.model_validate(with_paths(recipe, models)), str(out), options)
        return {
            name: tensor.clone()
            for shard in sorted(out.glob("*.safetensors"))
            for name, tensor in load_file(shard).items()
        }


def merge_documents(recipe: list[Any], scratch: Path, out: Path) -> None:
    path = scratch / "recipe.yaml"
    path.write_text(yaml.safe_dump_all(recipe), encoding="utf-8")
    arguments = f"{path} --intermediate-dir {scratch / 'intermediate'} --out-path {out} --quiet"
    more = f"--no-copy-tokenizer --no-write-model-card --lora-merge-cache {scratch / 'loras'}"
    multimerge.main([*arguments.split(), *more.split()], standalone_mode=False)


def write_outputs(models: Path) -> None:
    outputs = HERE / "outputs"
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir()
    for path in sorted((HERE / "recipes").glob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        recipe = documents if len(documents) > 1 else documents[0]
        save_file(merge(recipe, models), outputs / f"{path.stem}.safetensors")
        print(path.stem)


def random_recipe(method: str, rescale: bool) -> dict[str, Any]:
    return {
        "merge_method": method,
        "base_model": "base",
        "dtype": "float32",
        "models": [{"model": "expert-a", "parameters": {"weight": 1.0, "density": 0.5}}],
        "parameters": {"rescale": rescale},
    }


def drop_statistics(out: Tensors, base: Tensors, expert: Tensors) -> dict[str, dict[str, float]]:
    """Per tensor: the share of dropped changes, and the kept L1 norm relative to the full one."""
    result = {}
    for name, tensor in base.items():
        change, delta = out[name] - tensor, expert[name] - tensor
        zeros = (change == 0).double().mean().item()
        ratio = (change.double().abs().sum() / delta.double().abs().sum()).item()
        result[name] = {"size": tensor.numel(), "zeros": round(zeros, 6), "l1_ratio": round(ratio, 6)}
    return result


def write_statistics(tensors: dict[str, Tensors], models: Path) -> None:
    statistics = {
        f"{method}{'' if rescale else '-no-rescale'}": drop_statistics(
            merge(random_recipe(method, rescale), models), tensors["base"], tensors["expert-a"]
        )
        for method in RANDOM_METHODS
        for rescale in (True, False)
    }
    (HERE / "statistics.json").write_text(dumps(statistics, indent=1) + "\n", encoding="utf-8")


def write_inputs(models: dict[str, Tensors]) -> None:
    flat = {f"{model}/{name}": models[model][name] for model in models for name in models[model]}
    save_file(flat, HERE / "inputs.safetensors")
    config = model_config().to_dict()
    (HERE / "config.json").write_text(dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def report_non_finite() -> None:
    for path in sorted((HERE / "outputs").iterdir()):
        with safe_open(path, framework="pt") as file:
            bad = [name for name in file.keys() if not file.get_tensor(name).isfinite().all()]  # noqa: SIM118
        if bad:
            print(f"not finite in {path.stem}: {', '.join(bad)}")


def check_version() -> None:
    if version("mergekit") != MERGEKIT:
        raise SystemExit(f"the golden results are those of mergekit {MERGEKIT}, not {version('mergekit')}")


def main() -> None:
    check_version()
    torch.set_num_threads(1)
    tensors = input_models()
    write_inputs(tensors)
    write_adapters()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        write_models(tensors, models)
        write_outputs(models)
        write_statistics(tensors, models)
    report_non_finite()


if __name__ == "__main__":
    main()
