"""Numbers that depend on seed, tensor, model and place, and on nothing else."""

import torch

from workers.merging.counter_random import bits, key_of

CPU = torch.device("cpu")
COUNT = 1_000_000


def numbers(*key: int | str) -> torch.Tensor:
    """Between 0 and 1."""
    return bits(key_of(*key), 0, COUNT, CPU).double() * 2**-16 + 0.5  # type: ignore[arg-type]


def test_any_stretch_of_the_sequence_can_be_had() -> None:
    whole = bits(7, 0, 101, CPU)
    for offset, count in ((0, 1), (1, 1), (1, 50), (2, 99), (33, 68)):
        assert torch.equal(bits(7, offset, count, CPU), whole[offset : offset + count])


def test_numbers_are_evenly_spread() -> None:
    shares = torch.histc(numbers(0, "w", "a"), bins=100, min=0, max=1) / COUNT
    # Five standard deviations of the share of one bin.
    assert float((shares - 0.01).abs().max()) < 5 * (0.01 * 0.99 / COUNT) ** 0.5


def test_neighbours_and_keys_have_nothing_to_do_with_each_other() -> None:
    first = numbers(0, "w", "a") - 0.5
    others = [numbers(*key) - 0.5 for key in ((1, "w", "a"), (0, "v", "a"), (0, "w", "b"))]
    for other in (*others, first.roll(1), first.roll(2), first.roll(1000)):
        assert abs(float((first * other).mean())) * 12 < 5 / COUNT**0.5
