"""What the numbers of one tensor of a batch show."""

import math

import pytest
import torch
from torch import Tensor

from snellen.watching.batch_measures import describe


def series(wrap: bool) -> Tensor:
    """Differences of a noisy wave, (N, T, 1), taken of bytes or of numbers."""
    pick = torch.Generator().manual_seed(0)
    t, phase = torch.arange(48) / 48, torch.rand(64, 1, generator=pick)
    levels = (torch.sin(2 * math.pi * (5 * t + phase)) + 0.2 * torch.randn(64, 48, generator=pick)) * 80 + 128
    levels = levels.clamp(0, 255).byte() if wrap else levels.clamp(0, 255).round()
    return (levels[:, 1:] - levels[:, :-1]).float()[..., None]


def test_differences_of_bytes_in_a_series_wrap() -> None:
    assert describe(series(wrap=True), "input")["wrapped"] > 0.3
    assert describe(series(wrap=False), "input")["wrapped"] is None


@pytest.mark.parametrize(("axis", "small"), [(0, "log_column_sum_off"), (1, "log_row_sum_off")])
def test_the_axis_of_a_log_softmax_shows_in_its_sums(axis: int, small: str) -> None:
    out = torch.randn(16, 5, 3, 3, generator=torch.Generator().manual_seed(1)).log_softmax(axis)
    row = describe(out, "output")
    other = {"log_column_sum_off", "log_row_sum_off"} - {small}
    assert row[small] < 1e-5
    assert row[other.pop()] > 0.1
    assert "log_row_sum_off" not in describe(out + 20, "output")
