"""The loops for the CPU give what the formulas in torch give, which other devices run, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.contracts.methods.parameters import TaskVectorParameters
from workers.merging import kernels, largest
from workers.merging.brackets import bits_of
from workers.merging.coins import coin
from workers.merging.combination import weighted_sum
from workers.merging.difference import Difference
from workers.merging.finite import Rounded
from workers.merging.inputs import Tile
from workers.merging.largest import Largest
from workers.merging.masks import KeepAll, Mask
from workers.merging.sparsifiers import Bounds, Coins
from workers.merging.task_vectors import add_up, l1_norms

NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 1e-40, 3e4, float("nan")]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
SIZES = st.integers(1, 3000)
WEIGHTS = st.sampled_from([0.3, 1.0, -0.5, 0.0])


class ElsewhereTile(Tile):
    """As if on a device that the loops don't know."""

    @property
    def on_cpu(self) -> bool:
        return False


@st.composite
def tiles(draw: st.DrawFn) -> Tile:
    """Ordinary numbers and special ones, among them many that are equal."""
    size, count, dtype = draw(SIZES), draw(st.integers(1, 4)), draw(st.sampled_from(DTYPES))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    special = torch.tensor(NUMBERS)[torch.randint(len(NUMBERS), (count + 1, 1, size), generator=rng)]
    ordinary = torch.randn(count + 1, 1, size, generator=rng)
    mixed = torch.where(torch.rand(special.shape, generator=rng) < 0.3, special, ordinary).to(dtype)
    result_dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    return Tile(0, draw(st.integers(0, 9)), list(mixed[1:]), mixed[0], result_dtype)


@given(tiles(), st.lists(WEIGHTS, min_size=4, max_size=4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_weighted_sums(tile: Tile, weights: list[float], over_base: bool) -> None:
    shares = weights[: len(tile.stored_models)]
    if over_base:
        assert tile.base is not None
        found = kernels.add_weighted(tile.stored_models, tile.stored_base, shares, tile.result_dtype)
        assert_result(found, weighted_sum(tile.task_vectors(), shares) + tile.base)
    else:
        found = kernels.add_weighted(tile.stored_models, None, shares, tile.result_dtype)
        assert_result(found, weighted_sum(tile.models, shares))


def test_a_sum_of_negative_zeros_is_one() -> None:
    found = kernels.add_weighted([-torch.zeros(1, 3)] * 2, None, [0.5, 0.5])
    assert isinstance(found, Tensor)
    assert found.signbit().all()


@pytest.mark.parametrize("elect", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@given(tile=tiles(), data=st.data())
@settings(deadline=None, max_examples=40)
def test_sums_of_thinned_task_vectors(tile: Tile, data: st.DataObject, elect: bool, normalize: bool) -> None:
    count = len(tile.stored_models)
    weights, scales = (data.draw(st.lists(WEIGHTS, min_size=count, max_size=count)) for _ in range(2))
    parameters = TaskVectorParameters.model_validate({"normalize": normalize, "lambda": 0.7})
    masks = [data.draw(masks_for(vector, tile)) for vector in tile.task_vectors()]
    merge = add_up(masks, weights, scales=scales, parameters=parameters, elect=elect)
    wanted = merge(elsewhere(tile))
    assert isinstance(wanted, Tensor)
    assert_result(merge(tile), wanted)


@given(tile=tiles(), data=st.data())
@settings(deadline=None, max_examples=40)
def test_norms_of_thinned_task_vectors(tile: Tile, data: st.DataObject) -> None:
    masks = [data.draw(masks_for(vector, tile)) for vector in tile.task_vectors()]
    found, wanted = l1_norms(masks, tile), l1_norms(masks, elsewhere(tile))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0, equal_nan=True)


@given(tiles(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_scalar_products(tile: Tile, over_base: bool) -> None:
    for tensor in (*tile.stored_models, tile.stored_base):
        assert tensor is not None
        # Squares of larger ones leave float32, those of small ones have no length.
        tensor.clamp_(-100, 100)
    base = tile.stored_base if over_base else None
    vectors = torch.stack(tile.task_vectors() if over_base else tile.models).flatten(1).double()
    found = kernels.multiply_pairs(tile.stored_models, base)
    lengths = vectors.square().sum(1).sqrt().clamp_min(1e-9)
    torch.testing.assert_close(
        found / lengths.outer(lengths),
        vectors @ vectors.T / lengths.outer(lengths),
        rtol=0,
        atol=2e-6,
        equal_nan=True,
    )


@given(tiles(), st.integers(1, 1 << 31), st.integers(0, 1 << 30), st.booleans())
@settings(deadline=None, max_examples=60)
def test_sifting(tile: Tile, low: int, width: int, over_base: bool) -> None:
    high = min(low + width, (1 << 31) - 1)
    low = min(low, high)
    values = Difference(tile.stored_models[0], tile.stored_base if over_base else None)
    above, within = kernels.sift(*values, low, high)
    wanted_above, patterns, counts = largest.sift_on_gpu(values, low, high)
    assert above == wanted_above
    assert sorted(within.tolist()) == np.repeat(patterns, counts).tolist()


@given(tiles(), st.integers(0, 1 << 20), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_index_of_an_equal(tile: Tile, entry: int, over_base: bool) -> None:
    values = Difference(tile.stored_models[0], tile.stored_base if over_base else None)
    patterns = bits_of(values).tolist()
    bits = patterns[entry % len(patterns)] or 1
    places = [place for place, found in enumerate(patterns) if found == bits]
    found = [kernels.index_of(*values, bits, rank) for rank in range(1, len(places) + 2)]
    assert found == [*places, -1]


@given(tiles())
@settings(deadline=None, max_examples=20)
def test_differences(tile: Tile) -> None:
    for model, base in tile.differences():
        assert base is not None
        assert_equal(kernels.subtract(model, base), model.float() - base.float())


@pytest.mark.parametrize("probability", [1e-5, 0.1, 0.5, 2 / 3])
@pytest.mark.parametrize(("offset", "size"), [(0, 100_000), (1, 70), (33, 68), (99_999, 2), (3, 5000)])
def test_coins(probability: float, offset: int, size: int) -> None:
    key, zeros, ones = -8_234_567_890_123_456_789, torch.zeros(1, size), torch.ones(1, size)
    parameters = TaskVectorParameters.model_validate({"normalize": False})
    merge = add_up([Coins(key, probability)], [1.0], scales=[1.0], parameters=parameters, elect=False)
    assert_result(merge(Tile(0, offset, [ones], zeros)), coin(key, offset, probability, ones))


@st.composite
def masks_for(draw: st.DrawFn, vector: Tensor, tile: Tile) -> Mask:
    """Bounds at magnitudes that occur, with ties in the middle of the tile; NaN is no bound."""

    def some_largest() -> Largest:
        bits = int(
            vector.nan_to_num(1.0).abs().flatten()[draw(st.integers(0, vector.numel() - 1))].view(torch.int32)
        )
        return Largest(bits, draw(st.integers(0, tile.offset + vector.numel() + 9)))

    kind = draw(st.sampled_from(["all", "bounds", "outliers", "coins"]))
    if kind == "coins":
        return Coins(draw(st.integers(-(1 << 63), (1 << 63) - 1)), draw(st.floats(0.01, 0.99)))
    if kind == "all":
        return KeepAll()
    kept = some_largest()
    if kind == "bounds":
        return Bounds(kept)
    return Bounds(kept, Largest(min(0x7F800000, kept.bits + 100), draw(st.integers(0, vector.numel()))))


def elsewhere(tile: Tile) -> Tile:
    return ElsewhereTile(tile.start, tile.offset, tile.stored_models, tile.stored_base)


def assert_result(found: Tensor | Rounded, wanted: Tensor) -> None:
    """That a tile's rows are the float32 ones which are wanted, or what bfloat16 makes of those."""
    if isinstance(found, Rounded):
        wanted = wanted.to(found.rows.dtype)
        assert found.finite == bool(wanted.isfinite().all())
        if found.finite:
            assert_equal(found.rows, wanted)
    else:
        assert_equal(found, wanted)


def assert_equal(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


@given(st.lists(st.floats(width=32), min_size=1, max_size=9), st.integers(0, 1 << 32), SIZES)
@settings(deadline=None, max_examples=100)
def test_rounding(special: list[float], seed: int, size: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(1 << 31), 1 << 31, (size,), generator=rng).to(torch.int32)
    for numbers in (torch.tensor(special), bits.view(torch.float32), torch.randn(size, generator=rng)):
        assert_result(kernels.to_bfloat16(numbers), numbers)


@pytest.mark.parametrize(
    ("number", "finite"), [(0x7F7F7FFF, True), (0x7F7F8000, False), (0x7FFFFFFF, False), (0x7F800000, False)]
)
def test_what_rounds_to_infinity_is_not_finite(number: int, finite: bool) -> None:
    numbers = torch.tensor([0, number], dtype=torch.int32).view(torch.float32)
    for sign in (1, -1):
        assert kernels.to_bfloat16(sign * numbers).finite == finite
