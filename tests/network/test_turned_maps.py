"""Receptive fields through maps that are turned round, wrapped round or padded with what they hold."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn
from torch.nn import functional

from snellen.network.examine import examine
from tests.network.field_oracle import reached_pixels, told_field

SHAPE = (1, 3, 24, 30)
PLACES = [(12, 15), (8, 20), (13, 9)]


class _Between(nn.Module):
    """A convolution, something, and a convolution."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)
        self.between = between
        for parameter in self.parameters():
            parameter.data.uniform_(0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.between(self.first(x)))
        return out


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.flip(3), lambda x: x.flip((2, 3)), lambda x: x.flip(1), lambda x: x.flip(3).flip(3),
        lambda x: functional.max_pool2d(x, 1).flip(2) + x.flip(2), lambda x: x.flip(2)[:, :, 3:],
        lambda x: functional.pad(x, (1, 2, 2, 1), mode="reflect"),
        lambda x: functional.pad(x, (1, 2, 2, 1), mode="replicate"), lambda x: x.roll((1, 2), (2, 3)),
    ],
)  # fmt: skip
def test_each_output_sees_what_the_gradient_reaches(between: Callable[[Tensor], Tensor]) -> None:
    model = _Between(between)
    field = told_field(model, SHAPE)
    assert field is not None
    assert field.reach == "local"
    for (row, column), reached in zip(PLACES, reached_pixels(model, SHAPE, PLACES), strict=True):
        assert (field.h.at(row), field.w.at(column)) == reached


def test_a_map_and_its_mirror_image_together_may_see_all() -> None:
    facts = examine(_Between(lambda x: x + x.flip(3)), SHAPE)
    assert facts.receptive_field("last") == (float("inf"), float("inf"))


def test_a_turned_map_is_told_as_it_lies_over_the_image() -> None:
    facts = examine(nn.Sequential(nn.Conv2d(3, 2, 3, 2), _Turn(), nn.Conv2d(2, 2, 1)), SHAPE)
    field = facts.field_of("2")
    assert field is not None
    assert field.size == (3, 3)
    assert field.stride == (2, 2)
    assert field.columns is not None
    assert field.columns.at(0) == (0, 2)


class _Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(3)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate", "zeros"])
def test_padding_by_a_convolution_moves_no_field(mode: str) -> None:
    layers = [nn.Conv2d(3, 2, 3, padding=1, padding_mode=mode), nn.Conv2d(2, 2, 5, padding=2, padding_mode=mode)]
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        parameter.data.uniform_(0.5, 1.0)
    field = examine(model, SHAPE).field_of("1")
    assert field is not None
    assert field.size == (7, 7)
    assert field.rows is not None
    assert field.columns is not None
    ((rows, columns),) = [r for r in reached_pixels(model, SHAPE, [(12, 15)]) if r is not None]
    assert (field.rows.at(12), field.columns.at(15)) == (rows, columns)
