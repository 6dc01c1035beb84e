"""No merge is lost or half-made, whatever is killed or paused: a minute of what conservation.py does."""

from pathlib import Path

from tests.chaos.conservation import conserve


def test_every_merge_ends_once_and_nothing_is_left_behind(tmp_path: Path) -> None:
    counts = conserve(tmp_path, merges=60, faults=25, every=1.0)

    assert counts["faults"] == 25
    assert counts["submitted"] >= 60
    assert counts["succeeded"] > 0
