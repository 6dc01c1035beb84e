"""GGUF files become checkpoints that transformers loads; what can't become one leaves no process behind."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf import GGUFWriter

from service.contracts.model import ImportRequest
from service.recipes.refusal import Refused
from workers.importing.stage import stage_source

from .conftest import Converted


def test_smollm2_is_staged_in_bfloat16_with_tied_embeddings(smollm2: Converted) -> None:
    staged = smollm2.staged
    assert {path.name for path in smollm2.folder.iterdir()} == set(staged.files)
    assert len(staged.tensors) == 272
    assert {entry.dtype for entry in staged.tensors.values()} == {"BF16"}
    assert "lm_head.weight" not in staged.tensors
    config = json.loads((smollm2.folder / "config.json").read_text())
    assert config["tie_word_embeddings"]
    assert config["dtype"] == "bfloat16"
    assert smollm2.progress == sorted(smollm2.progress)
    assert smollm2.progress[-1][0] == smollm2.progress[-1][1]


def test_smollm2s_bytes_do_not_depend_on_when_and_where(smollm2: Converted) -> None:
    """Another conversion must give the same model id: nothing in the folder may tell one from the other."""
    for name in smollm2.staged.files:
        raw = (smollm2.folder / name).read_bytes()
        assert str(smollm2.folder).encode() not in raw
        assert b"transformers_version" not in raw


def test_smollm2_still_answers(smollm2: Converted) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder)
    model = AutoModelForCausalLM.from_pretrained(smollm2.folder)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [("no-such-architecture", "no-such-architecture"), ("llama", "does not give every weight of the model")],
)
def test_what_transformers_cannot_convert_is_refused(tmp_path: Path, architecture: str, reason: str) -> None:
    _write_gguf(tmp_path / "m.gguf", architecture)
    staging = tmp_path / "staging"
    staging.mkdir()
    request = ImportRequest.model_validate({"source": {"gguf": "m.gguf"}})
    with pytest.raises(Refused) as caught:
        stage_source(request, tmp_path, None, None, staging, lambda _done, _total: None)
    assert [problem.pointer for problem in caught.value.problems] == ["/source/gguf"]
    assert reason in str(caught.value)


class _Cancelled(Exception):
    pass


def test_a_cancelled_conversion_is_killed(smollm2_gguf: Path, tmp_path: Path) -> None:
    converting: list[psutil.Process] = []
    before = psutil.Process().children(recursive=True)

    def cancel(done: int, total: int) -> None:
        converting.extend(set(psutil.Process().children(recursive=True)).difference(before))
        if converting:
            raise _Cancelled

    request = ImportRequest.model_validate({"source": {"gguf": smollm2_gguf.name}})
    with pytest.raises(_Cancelled):
        stage_source(request, smollm2_gguf.parent, None, None, tmp_path, cancel)
    assert converting
    assert not any(process.is_running() for process in converting)


def _write_gguf(path: Path, architecture: str) -> None:
    """A whole file whose header is right, with the embeddings alone."""
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "ab", "<s>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(3)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_vocab_size(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", np.ones((4, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
