"""Coins that fall the same way whoever throws them."""

import pytest
import torch

from workers.merging.coins import coin

KEY, COUNT = -8_234_567_890_123_456_789, 1_000_000


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.999])
def test_coins_win_as_often_as_they_should(probability: float) -> None:
    share = float(coin(KEY, 0, probability, torch.empty(1000, 1000)).mean())
    assert abs(share - probability) <= 5 * (probability * (1 - probability) / COUNT) ** 0.5
