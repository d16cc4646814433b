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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.uint8, torch.bool])
def test_numbers_are_those_of_numpy(dtype: torch.dtype) -> None:
    x = (torch.randn(40, 7, generator=torch.Generator().manual_seed(2)) * 3).round()
    x = (x.abs() if dtype in (torch.uint8, torch.bool) else x).to(dtype)
    row, known = describe(x, "output"), x.double().numpy()
    assert row["minimum"] == known.min()
    assert row["maximum"] == known.max()
    assert row["mean"] == pytest.approx(known.mean(), abs=1e-6)
    assert row["std"] == pytest.approx(known.std(), rel=1e-5)
    assert row["zero_share"] == pytest.approx((known == 0).mean(), abs=1e-6)
    assert row["negative_share"] == pytest.approx((known < 0).mean(), abs=1e-6)
    assert row["whole"]
    assert row["nonfinite"] == 0


def test_non_finite_numbers_are_counted_and_left_out() -> None:
    x = torch.arange(1.0, 31.0).reshape(10, 3)
    x[2, 1], x[7, 0], x[7, 2] = math.nan, math.inf, -math.inf
    row = describe(x, "input")
    assert (row["nonfinite"], row["nonfinite_at"]) == (3, [2, 7])
    known = x[torch.isfinite(x)]
    assert (row["minimum"], row["maximum"]) == (1.0, 30.0)
    assert row["mean"] == pytest.approx(float(known.mean()))
    assert row["std"] == pytest.approx(float(known.std(correction=0)))
    empty = describe(torch.full((4, 2), math.nan), "input")
    assert (empty["nonfinite"], empty["minimum"], empty["mean"]) == (8, None, None)


def test_the_deviation_of_huge_numbers_does_not_overflow() -> None:
    assert describe(torch.tensor([[-1e25], [1e25]]), "output")["std"] == pytest.approx(1e25)
