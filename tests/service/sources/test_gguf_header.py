"""A GGUF file is whole and can be dequantised, or it is refused before anybody loads it."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.sources.gguf_header import check_gguf
from service.sources.malformed import Malformed

from .build import gguf


def test_a_whole_file_is_counted(tmp_path: Path) -> None:
    assert check_gguf(gguf(tmp_path / "m.gguf")) == 3 * 64 + 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf(tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()


def test_cut_anywhere_it_is_refused(tmp_path: Path, whole: bytes) -> None:
    data = len(whole.rstrip(b"\0"))
    for length in range(data):
        (tmp_path / "m.gguf").write_bytes(whole[:length])
        with pytest.raises(Malformed, match=r"truncated|shorter than"):
            check_gguf(tmp_path / "m.gguf")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_changed_bytes_never_crash_the_reader(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    raw = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.gguf").write_bytes(raw)
    try:
        check_gguf(tmp_path / "m.gguf")
    except Malformed as error:
        str(error).encode()


def _replaced(whole: bytes, at: int, code: str, value: int) -> bytes:
    piece = struct.pack("<" + code, value)
    return whole[:at] + piece + whole[at + len(piece) :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda whole: b"GGML" + whole[4:], "does not begin with the letters GGUF"),
        (lambda whole: _replaced(whole, 4, "I", 1), "GGUF version 1"),
        (lambda whole: whole[:4] + b"\0\0\0\3" + whole[8:], "little-endian"),
        (lambda whole: _replaced(whole, 8, "Q", 2**60), "truncated"),
        (lambda whole: _replaced(whole, 16, "Q", 2**60), "unknown metadata type|truncated|can't decode"),
        (
            lambda whole: whole.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.spoken"),
            "no tokenizer in it",
        ),
        (
            lambda whole: whole.replace(b"general.architecture", b"general.erchitecture"),
            "architecture is missing",
        ),
        (
            lambda whole: whole.replace(b"rope_freqs", b"token_embd"),
            "tensor 'token_embd.weight' is there twice",
        ),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, whole: bytes, change: Callable[[bytes], bytes], reason: str
) -> None:
    changed = change(whole)
    assert changed != whole
    (tmp_path / "m.gguf").write_bytes(changed)
    with pytest.raises(Malformed, match=reason):
        check_gguf(tmp_path / "m.gguf")


def test_a_part_of_a_split_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="split"):
        check_gguf(gguf(tmp_path / "m.gguf", split_count=3))
