"""Coins that fall the same way whoever throws them."""

import pytest
import torch

from workers.merging.coins import coin, keep_at_random

KEY, COUNT = -8_234_567_890_123_456_789, 1_000_000


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.999])
def test_coins_win_as_often_as_they_should(probability: float) -> None:
    share = float(coin(KEY, 0, probability, torch.empty(1000, 1000)).mean())
    assert abs(share - probability) <= 5 * (probability * (1 - probability) / COUNT) ** 0.5


@pytest.mark.parametrize("probability", [1e-5, 0.1, 0.5, 2 / 3])
def test_the_cpu_loop_throws_the_coins_of_the_formula(probability: float) -> None:
    whole = coin(KEY, 0, probability, torch.empty(COUNT))
    for offset, count in ((0, COUNT), (1, 70), (33, 68), (99_999, 2)):
        kept = keep_at_random(torch.ones(count), KEY, offset, probability)
        assert torch.equal(kept, whole[offset : offset + count])
