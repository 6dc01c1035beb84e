"""Selecting by counting gives what sorting would."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.merging.difference import Difference
from workers.merging.inputs import Inputs, Source
from workers.merging.largest import largest


def kept(values: Tensor, count: int, tile_elements: int) -> Tensor:
    """The entries of `values`, one row, that are among the `count` largest, else 0."""
    rows = values.reshape(-1, 4)
    inputs = Inputs(
        name="model.w",
        shape=tuple(rows.shape),
        models=[Source(lambda start, stop, step: rows[start:stop:step])],
        base=None,
        keys=[0],
        run_all=map,
        load_dtype=None,
        result_dtype=torch.float32,
        device=torch.device("cpu"),
        tile_elements=tile_elements,
        remark=print,
    )
    (found,) = largest(inputs, lambda tile: [Difference(tile.models[0])], [count])
    assert found is not None
    return torch.cat(list(inputs.map(lambda tile: found.trim(tile.models[0], tile)))).flatten()


def by_sorting(values: Tensor, count: int) -> Tensor:
    order = values.abs().argsort(descending=True, stable=True)[:count]
    return torch.zeros_like(values).index_copy(0, order, values[order])


@given(
    st.lists(st.sampled_from([0.0, -1.0, 1.0, 1.0000001, 2.0, -3.5, 1e-40, 1e30]), min_size=4, max_size=60),
    st.floats(0.01, 1),
    st.sampled_from([4, 12, 1000]),
)
@settings(deadline=None, max_examples=200)
def test_ties_go_to_the_lowest_index(entries: list[float], share: float, tile_elements: int) -> None:
    values = torch.tensor(entries[: len(entries) // 4 * 4])
    count = max(1, int(share * len(values)))
    found, wanted = kept(values, count, tile_elements), by_sorting(values, count)
    # Denormals may pass for zeros.
    assert torch.equal(
        torch.where(found.abs() < 1e-38, 0.0, found), torch.where(wanted.abs() < 1e-38, 0.0, wanted)
    )


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.999])
def test_many_numbers_as_by_sorting(share: float) -> None:
    values = torch.randn(40_000, generator=torch.Generator().manual_seed(1))
    for numbers in (values, values.bfloat16().float()):
        count = int(share * len(values))
        assert torch.equal(kept(numbers, count, 4096), by_sorting(numbers, count))
