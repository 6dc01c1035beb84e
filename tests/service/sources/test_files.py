"""Equal bytes, equal digest; anything else, another one."""

import hashlib
from pathlib import Path

from service.contracts.model import FileEntry
from service.sources.files import content_digest, hash_file


def test_a_file_is_described_by_size_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 1000)
    expected = hashlib.sha256(b"abc" * 1000).hexdigest()
    assert hash_file(tmp_path / "f") == FileEntry(size=3000, sha256=expected)


def test_the_digest_depends_on_names_and_contents_and_nothing_else() -> None:
    a, b = FileEntry(size=1, sha256="a" * 64), FileEntry(size=1, sha256="b" * 64)
    digest = content_digest({"x": a, "y": b})
    assert digest == content_digest({"y": b, "x": a})
    others = [{"x": b, "y": a}, {"x": a, "z": b}, {"x": a}, {}]
    assert len({digest, *map(content_digest, others)}) == 5
