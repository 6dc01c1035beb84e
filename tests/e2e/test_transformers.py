"""What vLLM computes from a merge is what transformers computes from the files of the same merge."""

from typing import Any

import openai
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.demo.assets import BASE
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

TEXTS = (
    "The capital of Italy is Rome, and the capital of France is Paris.",
    "Les feuilles tombent en automne parce que les arbres économisent leur eau.",
    "Осенью листья опадают, потому что дерево бережёт воду.",
    "كيف حالك اليوم؟",
)
EXPERTS = {"safety": 0.6, "fr": 0.5, "ru": 0.3}


@pytest.mark.parametrize("method", ["ties", "dare_linear"])
def test_both_give_the_same_log_probabilities(service: Running, method: str) -> None:
    recipe = {
        "merge_method": method,
        "base_model": BASE,
        "models": [
            {"model": expert, "parameters": {"weight": weight, "density": 0.6}}
            for expert, weight in EXPERTS.items()
        ],
        "dtype": "float32",
    }
    merged = service.api.merge(recipe).id
    folder = service.data / "store" / "models" / merged
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    assert model.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        tokens = tokenizer(text).input_ids
        # Float32 with other kernels and orders of summing: some 1e-5 apart, where bfloat16 is 1e-1.
        torch.testing.assert_close(
            in_vllm(service, merged, tokens), in_transformers(model, tokens), rtol=0, atol=1e-3
        )


def in_vllm(service: Running, model: str, tokens: list[int]) -> Tensor:
    """Log probability of each token but the first."""
    client = openai.OpenAI(base_url=f"{service.api.base_url}/v1", api_key="none")
    answer = client.completions.create(
        model=model, prompt=tokens, max_tokens=1, temperature=0, extra_body={"prompt_logprobs": 0}
    )
    _, *entries = (answer.choices[0].model_extra or {})["prompt_logprobs"]
    return torch.tensor(
        [entry[str(token)]["logprob"] for entry, token in zip(entries, tokens[1:], strict=True)]
    )


def in_transformers(model: Any, tokens: list[int]) -> Tensor:
    with torch.no_grad():
        logprobs = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    return torch.as_tensor(logprobs.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0])
