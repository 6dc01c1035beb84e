"""The header reader accepts what the safetensors library can read, and nothing that lies."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from service.sources.malformed import Malformed
from service.sources.safetensors_header import MAX_HEADER_BYTES, read_header

from .build import ITEM, header, pack, safetensors

TENSORS = {"a": ("F32", [2, 3]), "b": ("BF16", [4]), "c": ("I64", [])}
HEADER = header(TENSORS)
DATA = 40
anywhere = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

tables = st.dictionaries(
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(st.sampled_from(sorted(ITEM)), st.lists(st.integers(0, 5), max_size=3)),
    max_size=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A right file with a few bytes changed, most often within its header, or cut, or doubled."""
    raw = bytearray(safetensors(draw(tables)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        piece = draw(
            st.sampled_from([b"", b"-", b"0", b"9", b'"', b",", b"{", b"}", b"[", b"e", b"\\ud800", b"\xff"])
        )
        raw[at : at + draw(st.integers(0, 2))] = piece
    return bytes(raw)


@st.composite
def reheaded(draw: st.DrawFn) -> bytes:
    """A right length over JSON of the right outline with any values in it."""
    values = st.one_of(st.integers(-2, 2**70), st.none(), st.text(max_size=3), st.floats(), st.booleans())
    entry = st.fixed_dictionaries(
        {
            "dtype": st.one_of(st.sampled_from(["F32", "U8", "F8_E4M3", "nope"]), values),
            "shape": st.one_of(st.lists(st.one_of(st.integers(0, 3), values), max_size=2), values),
            "data_offsets": st.one_of(st.lists(st.one_of(st.integers(0, 36), values), max_size=3), values),
        }
    )
    head = draw(
        st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), st.one_of(entry, values), max_size=3)
    )
    return pack(json.dumps(head).encode(), draw(st.integers(0, 36)))


@given(tables)
@anywhere
def test_every_right_file_is_read_in_full(tmp_path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(tensors))
    assert {name: (entry.dtype, entry.shape) for name, entry in read_header(path).items()} == tensors


@given(st.one_of(st.binary(max_size=300), mutated(), reheaded()))
@example(b"")
@example(pack(b"[" * 100_000, 0))
@example(pack(b'{"a":' * 100_000, 0))
@example(pack(b'{"a":' + b"9" * 100_000 + b"}", 0))
@anywhere
def test_any_bytes_are_refused_or_readable_by_the_library(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    try:
        found = read_header(path)
    except Malformed as error:
        str(error).encode()
        return
    with safe_open(path, framework="numpy") as file:
        assert {name: file.get_slice(name).get_shape() for name in file.keys()} == {  # noqa: SIM118
            name: entry.shape for name, entry in found.items()
        }


def _with(name: str, **changes: Any) -> dict[str, Any]:
    return HEADER | {name: HEADER[name] | changes}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (pack(HEADER, DATA - 1), "truncated: the header promises 40 bytes of tensors, the file has 39"),
        (pack(HEADER, DATA)[:60], "truncated"),
        (pack(HEADER, DATA + 1), "1 bytes after the last tensor"),
        ((2**63).to_bytes(8, "little") + b"{}", "truncated"),
        (pack(_with("b", data_offsets=[20, 28]), DATA), "begins at byte 20, 24 expected"),
        (pack(_with("c", data_offsets=[33, 41]), DATA + 1), "begins at byte 33, 32 expected"),
        (pack(_with("c", data_offsets=[32, 36]), DATA), "4 bytes, not those of I64"),
        (pack(_with("a", shape=[-2, -3]), DATA), "no valid shape"),
        (pack(_with("a", shape=[2.0, 3]), DATA), "no valid shape"),
        (pack(_with("a", data_offsets=[True, 24]), DATA), "no valid data_offsets"),
        (pack(_with("a", dtype="F8_E4M3"), DATA), "dtype 'F8_E4M3'; supported: "),
        (pack(_with("a", dtype=["F32"]), DATA), "dtype"),
        (pack(_with("a", extra=1), DATA), "and nothing else"),
        (pack(b'{"a":' + json.dumps(HEADER["a"]).encode() + b',"a":{}}', 24), "'a' is there twice"),
        (pack({**HEADER, "__metadata__": {"format": 1}}, DATA), "__metadata__"),
        (pack(b"[]", 0), "not a JSON object"),
        (pack(b'{"\xff": 1}', 0), "not JSON"),
        (b"\x80\x02}q\x00(X\x06\x00\x00\x00weightq\x01cos\nsystem\n", "truncated or no safetensors file"),
    ],
)
def test_lies_are_named(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(Malformed) as caught:
        read_header(path)
    assert reason in str(caught.value)
    assert "model.safetensors" in str(caught.value)


def test_an_absurd_header_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(Malformed, match="has a header of"):
        read_header(path)
