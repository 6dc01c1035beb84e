"""A virtual model is the written one, whichever way its weights take."""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis
from safetensors.torch import load_file

from service.jobs.queue import JobQueue
from service.models.intact import check_sizes, check_whole
from service.models.store import Store
from service.models.virtual import register_virtual
from service.recipes.accept import Accepted, accept
from service.recipes.digest import canonical
from service.settings import Settings
from tests.workers.serving.models import LAYERS, add_adapter, add_model, tied_tensors
from workers.merge_job import run_merge
from workers.merging.engine import NotFinite
from workers.serving.fingerprint import fingerprint
from workers.serving.store_loader import stream
from workers.watch import Watch

BASE, SAFETY, ADAPTER = "m_000000000000000a", "m_000000000000000b", "m_000000000000000c"
RECIPES: dict[str, dict[str, Any]] = {
    "dare_ties": {
        "base_model": BASE,
        "models": [{"model": SAFETY}, {"model": ADAPTER}],
        "parameters": {"weight": 0.6, "density": 0.5},
        "dtype": "bfloat16",
    },
    "slerp": {
        "base_model": SAFETY,
        "models": [{"model": SAFETY}, {"model": ADAPTER}],
        "parameters": {"t": [0.2, 0.9]},
    },
    "passthrough": {
        "slices": [{"sources": [{"model": SAFETY, "layer_range": layers}]} for layers in ([0, 3], [5, 7])],
    },
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a store with a base, a fine-tune and an adapter."""
    settings = Settings(data=tmp_path)
    store = Store(settings.store_root)
    config: dict[str, object] = {"num_hidden_layers": LAYERS}
    base = add_model(store, BASE, tied_tensors(1), config)
    add_model(store, SAFETY, tied_tensors(2), config)
    add_adapter(store, ADAPTER, base, "model.layers.3.self_attn.q_proj")
    return settings


def accepted(store: Store, method: str, **changes: Any) -> Accepted:
    recipe = {"merge_method": method, **RECIPES[method], **changes}
    return accept(recipe, 7, lambda reference: reference, store)


@pytest.mark.parametrize("method", RECIPES)
def test_it_streams_to_the_bit_what_a_job_writes(settings: Settings, redis: "Redis", method: str) -> None:
    store = Store(settings.store_root)
    merge = accepted(store, method)
    virtual = register_virtual(store, merge)
    folder = store.path(virtual.id)
    streamed = list(stream(folder, torch.float32, tied=True))

    queue = JobQueue(redis)
    request = {"recipe": canonical(merge.recipe), "seed": merge.seed}
    job = queue.start(queue.submit("merge", request, model=virtual.id).id, "worker")
    written = run_merge(job, store.stage(job.staging), store, settings, Watch(queue, job))

    assert written.id == virtual.id
    assert written.tensors == virtual.tensors
    assert fingerprint(written, store.path(written.id)) == fingerprint(virtual, folder)
    tensors = load_file(store.path(written.id) / "model.safetensors")
    expected = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    assert sorted(name for name, _ in streamed) == sorted(expected)
    for name, tensor in streamed:
        assert torch.equal(tensor, expected[name].float()), name
    numbers = [match.group(1) for name, _ in streamed if (match := re.search(r"layers\.(\d+)", name))]
    assert len(list(groupby(numbers))) == len(set(numbers)), "a layer's tensors must come together"


def test_it_is_as_whole_as_its_sources(settings: Settings) -> None:
    store = Store(settings.store_root)
    virtual = register_virtual(store, accepted(store, "slerp"))
    check_whole(store, virtual.id, check_sizes)
    weights = store.path(BASE) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"model {BASE} is damaged"):
        check_whole(store, virtual.id, check_sizes)


def test_a_result_that_is_no_number_ends_the_stream(settings: Settings) -> None:
    store = Store(settings.store_root)
    huge = {"parameters": {"weight": 3e38, "density": 1.0}, "dtype": "float32"}
    virtual = register_virtual(store, accepted(store, "dare_ties", **huge))
    with pytest.raises(NotFinite, match="NaN or infinity"):
        list(stream(store.path(virtual.id), torch.float32, tied=True))
