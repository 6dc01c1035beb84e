"""What a plan promises, and the models that it refuses to put together."""

from typing import Any

import pytest

from service.contracts.model import TensorEntry
from service.recipes.parse import validate_recipe
from service.recipes.plan import LayerRef, Plan, TensorRef, make_plan
from service.recipes.refusal import Refused

LINEAR: dict[str, Any] = {
    "merge_method": "linear",
    "models": [{"model": "a", "parameters": {"weight": 0.5}}, {"model": "b", "parameters": {"weight": 1}}],
}
TIES: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "a", "parameters": {"weight": 1}}],
}
PASSTHROUGH: dict[str, Any] = {"merge_method": "linear", "parameters": {"weight": 1}}


def layer(index: int) -> str:
    return f"model.layers.{index}.mlp.up_proj.weight"


def tensors(layers: int = 3, **changes: TensorEntry | None) -> dict[str, TensorEntry]:
    """A small model; `changes` replaces or, with None, removes embed, norm and head."""
    named = {
        "embed": ("model.embed_tokens.weight", TensorEntry(shape=[16, 4], dtype="BF16")),
        "head": ("lm_head.weight", TensorEntry(shape=[16, 4], dtype="BF16")),
        "norm": ("model.norm.weight", TensorEntry(shape=[4], dtype="BF16")),
    }
    table = {layer(index): TensorEntry(shape=[8, 4], dtype="BF16") for index in range(layers)}
    for key, (name, entry) in named.items():
        wanted = changes.get(key, entry)
        if wanted is not None:
            table[name] = wanted
    return table


def plan(recipe: dict[str, Any], **tables: dict[str, TensorEntry]) -> Plan:
    checked = validate_recipe(recipe)
    return make_plan(checked, {name: tables.get(name, tensors()) for name in checked.references()})


def refusal(recipe: dict[str, Any], **tables: dict[str, TensorEntry]) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        plan(recipe, **tables)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def weights(made: Plan, tensor: str) -> list[float]:
    (task,) = [task for task in made.tasks if task.name == tensor]
    return [item.weight for item in task.model_parameters]  # type: ignore[attr-defined]


def test_sizes_and_dtypes_follow_from_recipe_and_donor() -> None:
    numbers = 3 * 32 + 2 * 64 + 4
    assert plan(LINEAR).bytes_written == 2 * numbers
    assert plan(LINEAR | {"dtype": "float32"}).bytes_written == 4 * numbers
    assert plan(LINEAR | {"dtype": "float32", "out_dtype": "float16"}).bytes_written == 2 * numbers
    assert plan(TIES).donor == "base"
    assert plan(LINEAR).donor == "a"


def test_a_gradient_runs_over_the_layers_and_starts_with_everything_else() -> None:
    made = plan(
        LINEAR | {"models": [{"model": "a", "parameters": {"weight": [0.2, 0.4, 1.0]}}]}, a=tensors(5)
    )
    assert [weights(made, layer(index)) for index in range(5)] == [
        [0.2],
        [pytest.approx(0.3)],
        [0.4],
        [0.7],
        [1.0],
    ]
    assert weights(made, "model.embed_tokens.weight") == weights(made, "lm_head.weight") == [0.2]


def test_two_stacks_of_layers_have_a_gradient_each() -> None:
    vision = {f"vision.blocks.{index}.w": TensorEntry(shape=[2, 2], dtype="F32") for index in range(2)}
    made = plan(
        LINEAR | {"models": [{"model": "a", "parameters": {"weight": [1, 3]}}]}, a=tensors(5) | vision
    )
    assert [weights(made, "vision.blocks.1.w"), weights(made, layer(2))] == [[3.0], [2.0]]


def test_precedence_is_model_before_recipe_and_the_first_filter_that_fits() -> None:
    conditions = [{"filter": "layers.1.", "value": 7}, {"filter": "norm", "value": 8}]
    models = [{"model": "a", "parameters": {"weight": conditions}}, {"model": "b"}]
    made = plan(LINEAR | {"models": models, "parameters": {"weight": 5}})
    assert weights(made, layer(1)) == [7.0, 5.0]
    assert weights(made, layer(0)) == [5.0, 5.0]
    assert weights(made, "model.norm.weight") == [8.0, 5.0]


@pytest.mark.parametrize(
    ("recipe", "pointer", "words"),
    [
        (TIES | {"parameters": {"density": 0}}, "/models/0/parameters/density", "greater than 0"),
        (
            TIES | {"parameters": {"density": [0.5, 1.5]}},
            "/models/0/parameters/density",
            "less than or equal to 1",
        ),
        (
            TIES | {"merge_method": "della", "parameters": {"density": 0.9, "epsilon": 0.2}},
            "/models/0/parameters",
            "density - epsilon and density + epsilon must both lie between 0 and 1",
        ),
        (
            TIES | {"merge_method": "breadcrumbs", "parameters": {"density": 0.5, "gamma": 1}},
            "/models/0/parameters/gamma",
            "less than 1",
        ),
        (TIES | {"models": [{"model": "a"}]}, "/models/0/parameters/weight", "required and has no value"),
        (TIES | {"parameters": {"normalize": 0.5}}, "/parameters/normalize", "boolean"),
        (
            LINEAR | {"models": [{"model": "a", "parameters": {"weight": [{"filter": "mlp", "value": 1}]}}]},
            "/models/0/parameters/weight",
            "no value for model.embed_tokens.weight",
        ),
        (
            LINEAR | {"models": [{"model": "a", "parameters": {"weight": [1, 0, -1]}}]},
            "/models",
            f"add up to 0, which leaves nothing to divide by (for {layer(1)})",
        ),
    ],
)
def test_parameters_that_no_tensor_can_have_are_refused(
    recipe: dict[str, Any], pointer: str, words: str
) -> None:
    found = refusal(recipe)
    assert words in found[pointer]


def test_models_of_another_shape_are_refused_with_the_tensors_named() -> None:
    taller = refusal(TIES, a=tensors(5))["/models/0/model"]
    assert taller == f"a does not fit base: it has 2 tensors too many ({layer(3)}, {layer(4)})"
    wider = tensors(norm=TensorEntry(shape=[5], dtype="F32"))
    assert refusal(LINEAR, b=wider) == {
        "/models/1/model": "b does not fit a: it has another shape in 1 tensor "
        "(model.norm.weight: 5 instead of 4)"
    }
    assert "it lacks 2 tensors" in refusal(LINEAR, b=tensors(1))["/models/1/model"]


def test_every_model_that_does_not_fit_is_told() -> None:
    recipe = TIES | {"models": [*TIES["models"], {"model": "b", "parameters": {"weight": 1}}]}
    assert set(refusal(recipe, a=tensors(2), b=tensors(4))) == {"/models/0/model", "/models/1/model"}


def test_a_tied_model_lends_its_embedding_as_output_head() -> None:
    (task,) = [task for task in plan(LINEAR, b=tensors(head=None)).tasks if task.name == "lm_head.weight"]
    assert task.sources == (TensorRef("a", "lm_head.weight"), TensorRef("b", "model.embed_tokens.weight"))


def test_a_tied_result_has_no_room_for_an_output_head() -> None:
    assert "lm_head.weight" in refusal(LINEAR, a=tensors(head=None))["/models/1/model"]
    made = plan(LINEAR, a=tensors(head=None), b=tensors(head=None))
    assert "lm_head.weight" not in made.tensors


def test_tensors_of_integers_are_copied_from_the_donor() -> None:
    positions = {"model.position_ids": TensorEntry(shape=[1, 8], dtype="I64")}
    made = plan(LINEAR, a=tensors() | positions)
    (task,) = [task for task in made.tasks if task.copied]
    assert (task.sources, task.dtype) == ((TensorRef("a", "model.position_ids"),), "I64")


def test_buffers_of_old_checkpoints_are_copied_and_need_not_be_in_every_model() -> None:
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": TensorEntry(shape=[2], dtype="F32"),
        "model.layers.0.attn.bias": TensorEntry(shape=[1, 1, 8, 8], dtype="F32"),
        "model.layers.0.attn.masked_bias": TensorEntry(shape=[], dtype="F32"),
    }
    made = plan(LINEAR | {"dtype": "bfloat16"}, a=tensors() | buffers)
    assert {task.name: task.dtype for task in made.tasks if task.copied} == dict.fromkeys(buffers, "F32")
    assert not buffers.keys() & plan(LINEAR, b=tensors() | buffers).tensors.keys()
    bias = {"model.layers.0.attn.bias": TensorEntry(shape=[4], dtype="F32")}
    assert "it lacks 1 tensor" in refusal(LINEAR, a=tensors() | bias)["/models/1/model"]


@pytest.mark.parametrize("prefix", ["model.", "transformer."])
def test_a_model_saved_without_its_head_fits_one_saved_with_it(prefix: str) -> None:
    shapes = {"wte.weight": [16, 4], "h.0.ln_1.weight": [4], "h.1.ln_1.weight": [4], "ln_f.weight": [4]}
    bare = {name: TensorEntry(shape=shape, dtype="F32") for name, shape in shapes.items()}
    whole = {prefix + name: entry for name, entry in bare.items()}
    for first, second in ((bare, whole), (whole, bare)):
        made = plan(LINEAR, a=first, b=second)
        assert list(made.tensors) == list(first)
        assert [task.sources[1].name for task in made.tasks] == list(second)
    recipe = stack(("a", 0, 1), ("b", 1, 2))
    assert {task.sources[0].name for task in plan(recipe, a=bare, b=whole).tasks} >= {
        "h.0.ln_1.weight",
        f"{prefix}h.1.ln_1.weight",
    }


@pytest.mark.parametrize("dtype", ["I8", "F8_E4M3", "F64"])
def test_weights_that_are_no_plain_floats_are_refused(dtype: str) -> None:
    quantised = tensors(norm=TensorEntry(shape=[4], dtype=dtype))
    assert f"model.norm.weight has dtype {dtype}" in refusal(LINEAR, a=quantised)["/models/0/model"]


def stack(*ranges: tuple[str, int, int]) -> dict[str, Any]:
    slices = [{"sources": [{"model": model, "layer_range": [start, end]}]} for model, start, end in ranges]
    return PASSTHROUGH | {"slices": slices}


def test_slices_renumber_the_layers() -> None:
    made = plan(stack(("a", 0, 2), ("b", 1, 3)))
    sources = {task.name: task.sources[0] for task in made.tasks}
    assert made.layers == {
        "model.layers": tuple(LayerRef(m, i) for m, i in (("a", 0), ("a", 1), ("b", 1), ("b", 2)))
    }
    assert [sources[layer(index)] for index in range(4)] == [
        TensorRef("a", layer(0)),
        TensorRef("a", layer(1)),
        TensorRef("b", layer(1)),
        TensorRef("b", layer(2)),
    ]
    assert sources["model.embed_tokens.weight"].model == "a"
    assert sources["model.norm.weight"].model == "b"


def test_slices_beyond_a_models_layers_are_refused() -> None:
    found = refusal(stack(("a", 0, 2), ("b", 2, 4)))
    assert found == {"/slices/1/sources/0/layer_range": "b has 3 layers, 0 to 2"}


def test_slices_of_unequal_height_are_refused() -> None:
    sources = [{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [0, 1]}]
    found = refusal(PASSTHROUGH | {"slices": [{"sources": sources}]})
    assert found == {"/slices/0/sources/1/layer_range": "1 layers here, 2 in the slice's first source"}


VISION = {
    "vision_tower.patch_embed.weight": TensorEntry(shape=[4, 3], dtype="BF16"),
    **{
        f"vision_tower.encoder.layers.{index}.mlp.weight": TensorEntry(shape=[4, 4], dtype="BF16")
        for index in range(2)
    },
    "multi_modal_projector.linear_1.weight": TensorEntry(shape=[4, 4], dtype="BF16"),
}
MODULES: dict[str, Any] = {
    "merge_method": "linear",
    "parameters": {"weight": 1},
    "modules": {
        "text_decoder": {"models": [{"model": "a"}, {"model": "b", "parameters": {"weight": [0.2, 0.6]}}]},
        "vision_tower": {"models": [{"model": "a"}], "parameters": {"weight": 3}},
    },
}


def seeing() -> dict[str, TensorEntry]:
    """A vision-language model as its checkpoint has it."""
    return VISION | {f"language_model.{name}": entry for name, entry in tensors().items()}


def test_each_module_has_its_own_ingredients_and_parameters_and_the_rest_is_copied() -> None:
    made = plan(MODULES | {"out_dtype": "float32"}, a=seeing(), b=seeing())
    assert set(made.tensors) == set(seeing())
    assert {entry.dtype for entry in made.tensors.values()} == {"F32"}
    assert weights(made, f"language_model.{layer(1)}") == [1.0, 0.4]
    assert weights(made, "vision_tower.encoder.layers.1.mlp.weight") == [3.0]
    (copied,) = [task for task in made.tasks if task.copied]
    assert (copied.name, copied.sources) == (
        "multi_modal_projector.linear_1.weight",
        (TensorRef("a", "multi_modal_projector.linear_1.weight"),),
    )


def test_a_module_may_come_in_slices() -> None:
    ranges = (("a", 0, 2), ("b", 1, 3))
    modules = {"text_decoder": {"slices": stack(*ranges)["slices"]}}
    made = plan(PASSTHROUGH | {"modules": modules}, a=seeing(), b=seeing())
    sources = {task.name: task.sources[0] for task in made.tasks}
    assert sources[f"language_model.{layer(3)}"] == TensorRef("b", f"language_model.{layer(2)}")
    assert sources["vision_tower.encoder.layers.1.mlp.weight"].model == "a"
    assert {name: len(layers) for name, layers in made.layers.items()} == {"language_model.model.layers": 4}


@pytest.mark.parametrize(
    ("modules", "pointer", "words"),
    [
        ({"text_decodr": MODULES["modules"]["vision_tower"]}, "/modules/text_decodr", "'text_decoder'?"),
        (
            {"audio": MODULES["modules"]["vision_tower"]},
            "/modules/audio",
            "valid: multi_modal",
        ),
        ({"text_decoder": {}}, "/modules/text_decoder/models", "either models or slices, found none"),
        ({"text_decoder": {"mdls": []}}, "/modules/text_decoder/mdls", "did you mean 'models'?"),
        (
            {"text_decoder": {"models": [{"model": "a", "wieght": 1}]}},
            "/modules/text_decoder/models/0/wieght",
            "unknown key",
        ),
        (
            {"vision_tower": {"models": [{"model": "a"}, {"model": "c"}]}},
            "/modules/vision_tower/models/1/model",
            "it lacks 3 tensors",
        ),
        (
            {"text_decoder": {"models": [{"model": "a"}], "parameters": {"wieght": 1}}},
            "/modules/text_decoder/parameters/wieght",
            "did you mean 'weight'?",
        ),
        (
            {"text_decoder": {"slices": [{"sources": [{"model": "a", "layer_range": [0, 9]}]}]}},
            "/modules/text_decoder/slices/0/sources/0/layer_range",
            "a has 3 layers",
        ),
    ],
)
def test_what_is_wrong_with_a_module_is_told_at_its_place(
    modules: dict[str, Any], pointer: str, words: str
) -> None:
    found = refusal(MODULES | {"modules": modules}, a=seeing(), b=seeing(), c=tensors())
    assert words in found[pointer]


def test_modules_need_a_checkpoint_that_has_some() -> None:
    assert "all one module" in refusal(MODULES)["/modules/text_decoder"]
    both = refusal(MODULES | {"models": LINEAR["models"]})
    assert both == {"/models": "give either models, slices or modules, found models and modules"}
