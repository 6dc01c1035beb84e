"""Ranks of magnitudes within rows."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.merging.ranks import magnitude_ranks

# Each a float32: what rounds to another entry's value would tie with it.
ENTRIES = st.sampled_from([0.0, -0.0, 2.0**-149, -0.5, 0.5, 1.0, -1.0, 2.0**127]) | st.floats(
    width=32, allow_nan=False
)


def _table(width: int) -> "st.SearchStrategy[list[list[float]]]":
    return st.lists(st.lists(ENTRIES, min_size=width, max_size=width), min_size=1)


@settings(deadline=None)
@given(st.integers(1, 9).flatmap(_table))
def test_smaller_magnitudes_have_lower_ranks_and_of_equal_ones_the_earlier(rows: list[list[float]]) -> None:
    found = magnitude_ranks(torch.tensor(rows, dtype=torch.float32)).tolist()
    for row, ranks in zip(rows, found, strict=True):
        by_size = sorted(range(len(row)), key=lambda place: abs(row[place]))
        assert [by_size.index(place) for place in range(len(row))] == ranks
