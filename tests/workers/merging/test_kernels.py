"""The loops for the CPU give what the formulas in torch give, which other devices run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.merging import kernels, largest, sign_election

ENTRIES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 3e30, float("nan")])


@given(st.lists(ENTRIES, min_size=1, max_size=3000), st.integers(1, 1 << 31), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=100)
def test_sifting(entries: list[float], low: int, width: int) -> None:
    values, high = torch.tensor(entries), min(low + width, (1 << 31) - 1)
    low = min(low, high)
    above, within = kernels.sift(values, low, high)
    wanted_above, wanted_within = largest.sift(values, low, high)
    assert above == wanted_above
    assert within.tolist() == wanted_within.tolist()


@pytest.mark.parametrize("normalize", [False, True])
@given(data=st.data(), models=st.integers(1, 4), size=st.integers(1, 3000))
@settings(deadline=None, max_examples=60)
def test_sign_election(data: st.DataObject, models: int, size: int, normalize: bool) -> None:
    numbers = st.lists(st.sampled_from([0.3, 1.0, -0.5, 0.0]), min_size=models, max_size=models)
    factors, weights = data.draw(numbers), data.draw(numbers)
    chosen = torch.tensor(data.draw(st.lists(ENTRIES, min_size=8, max_size=8)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    vectors = [chosen[torch.randint(8, (size,), generator=generator)] for _ in range(models)]
    found = kernels.elected_sum([vector.clone() for vector in vectors], factors, weights, normalize=normalize)
    wanted = sign_election.elected_sum_on_device(vectors, factors, weights, normalize=normalize)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0, equal_nan=True)


@given(st.lists(st.tuples(ENTRIES, ENTRIES), min_size=1, max_size=3000))
@settings(deadline=None, max_examples=30)
def test_differences_of_bfloat16(pairs: list[tuple[float, float]]) -> None:
    model, base = torch.tensor(pairs).bfloat16().unbind(1)
    found = kernels.bfloat16_difference(model, base)
    torch.testing.assert_close(found, model.float() - base.float(), rtol=0, atol=0, equal_nan=True)
