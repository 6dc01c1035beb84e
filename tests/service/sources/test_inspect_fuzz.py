"""Whatever the files of a source say, it is taken as it is or refused in words, at its place."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.recipes.refusal import Refused
from service.sources.inspect import inspect_source
from service.sources.json_object import parse_object
from service.sources.malformed import Malformed

from .build import BASE, CONFIG, LORA, adapter, manifest, request, sharded

anywhere = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TWO = {FIRST: {"a": ("F32", [2])}, SECOND: {"b": ("F32", [3])}}
INDEX = "model.safetensors.index.json"

TEXT = st.text(st.characters(), max_size=8)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, -1, 0])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def mutated(raw: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes of it changed, or cut."""
    pieces = st.sampled_from(
        [b"", b"-", b"9", b'"', b",", b":", b"{", b"}", b"[", b"1e999", b"NaN", b"\\ud800", b"\xff", b"\0"]
    )
    change = st.tuples(st.integers(0, len(raw)), pieces, st.integers(0, 3))

    def apply(changes: list[tuple[int, bytes, int]]) -> bytes:
        found = raw
        for at, piece, length in changes:
            found = found[:at] + piece + found[at + length :]
        return found

    return st.lists(change, min_size=1, max_size=3).map(apply)


def documents(right: dict[str, Any], keys: list[str]) -> st.SearchStrategy[bytes]:
    """The right document mutated; with other values at some of its keys; anything."""
    changes = st.dictionaries(st.sampled_from(keys) | TEXT, ANYTHING, max_size=3)
    near = changes.map(lambda change: json.dumps({**right, **change}).encode())
    return near | mutated(json.dumps(right).encode()) | ANYTHING.map(lambda value: json.dumps(value).encode())


def inspected(root: Path, **source: str) -> dict[str, Path] | None:
    """The files of the source; None if it was refused as it should be."""
    try:
        return inspect_source(request(**source), root, manifest(BASE))
    except Refused as refused:
        for problem in refused.problems:
            assert problem.detail
            assert problem.pointer == f"/source/{next(iter(source))}"
            problem.model_dump_json().encode()
        return None


@given(documents(CONFIG, ["architectures", "auto_map", "model_type"]) | st.binary(max_size=60))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": NaN}')
@example(b'{"a": -Infinity}')
@example(b'{"a": 1e999}')
@example(b'{"a": 1, "a": 2}')
@example(b'{"\\ud800": "\\udfff"}')
@example(b'{"a":' * 50_000)
@example(b"[" * 50_000 + b"]" * 50_000)
@example(b'{"a": ' + b"9" * 50_000 + b"}")
@settings(max_examples=200, deadline=None)
def test_an_object_is_read_as_plain_json_or_refused(raw: bytes) -> None:
    try:
        found = parse_object(raw, "config.json")
    except Malformed as refusal:
        reason = str(refusal)
    else:
        # What is read can be written again, as JSON that any reader takes, and means the same.
        assert json.loads(json.dumps(found, allow_nan=False)) == found == json.loads(raw)
        return
    assert "config.json" in reason
    reason.encode()


@given(
    documents(CONFIG, ["architectures", "auto_map"]),
    documents({"weight_map": {"a": FIRST, "b": SECOND}}, ["weight_map", "metadata"])
    | st.dictionaries(
        st.sampled_from(["a", "b"]) | TEXT,
        st.sampled_from([FIRST, SECOND, "", ".", "..", "/etc/passwd", "x\0.safetensors", "../m.safetensors"])
        | st.sampled_from(["\ud800.safetensors", "a" * 300 + ".safetensors"])
        | ANYTHING,
        max_size=3,
    ).map(lambda placed: json.dumps({"weight_map": placed}).encode()),
)
@anywhere
def test_a_checkpoint_is_taken_whole_or_refused(tmp_path_factory: Any, config: bytes, index: bytes) -> None:
    root = tmp_path_factory.mktemp("root")
    folder = sharded(root / "model", TWO)
    (folder / "config.json").write_bytes(config)
    (folder / INDEX).write_bytes(index)
    files = inspected(root, folder="model")
    assert files is None or all(path.parent == folder and path.is_file() for path in files.values())


@given(
    documents(
        LORA,
        [
            "r", "lora_alpha", "bias", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type",
            "init_lora_weights", "target_modules",
        ],
    )
)  # fmt: skip
@example(json.dumps(LORA | {"r": 10**400, "use_rslora": True}).encode())
@example(json.dumps(LORA | {"lora_alpha": 10**400}).encode())
@example(json.dumps(LORA | {"rank_pattern": {"(a+)+$": 4}}).encode())
@anywhere
def test_an_adapter_is_taken_or_refused(tmp_path_factory: Any, config: bytes) -> None:
    root = tmp_path_factory.mktemp("root")
    folder = adapter(root / "lora")
    (folder / "adapter_config.json").write_bytes(config)
    files = inspected(root, adapter="lora")
    assert files is None or files.keys() == {"adapter_config.json", "adapter_model.safetensors"}
