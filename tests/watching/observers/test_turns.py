"""Images that come mirrored, and their targets."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snellen.watching.batch_measures import interleaved
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.turns import Turns


def observe(batches: list[tuple[Tensor, Tensor]]) -> list[dict[str, Any]]:
    observer = Turns(Context())
    for step, (x, y) in enumerate(batches):
        observer.batch(Batch(step=step, phase="training", inputs=x, targets=y))
    found: list[dict[str, Any]] = observer.facts().get("measures", [])
    return found


@given(
    st.integers(8, 33),
    st.integers(8, 33),
    st.sampled_from([(-1,), (-2,), (-1, -2)]),
    st.sampled_from([torch.float32, torch.uint8, torch.bfloat16]),
)
def test_a_flip_is_known_again_in_any_size_and_type(high: int, wide: int, axes: tuple[int, ...], kind: Any) -> None:
    generator = torch.Generator().manual_seed(high * 64 + wide)
    x = (torch.rand(6, 3, high, wide, generator=generator) * 255).to(kind)
    y = torch.randint(0, 5, (6, high, wide), generator=generator)
    stayed = observe([(x, y), (x.flip(axes), y)])
    assert [(r["value"], r["of"], r["detail"]) for r in stayed] == [(1.0, 6.0, "maps")]
    assert [r["value"] for r in observe([(x, y), (x.flip(axes), y.flip(axes))])] == [0.0]


def test_masks_that_are_their_own_mirror_images_say_nothing() -> None:
    x = torch.rand(6, 3, 16, 16)
    assert observe([(x, torch.zeros(6, 16, 16)), (x.flip(-1), torch.zeros(6, 16, 16))]) == []


def test_one_box_an_image_is_followed_by_its_corners() -> None:
    x = torch.rand(6, 3, 16, 16)
    y = torch.tensor([[1.0, 2, 5, 9]]).repeat(6, 1)
    assert [(r["value"], r["detail"]) for r in observe([(x, y), (x.flip(-1), y)])] == [(1.0, "boxes")]


def test_another_change_beside_the_flip_is_another_image() -> None:
    x, y = torch.rand(6, 3, 16, 16), torch.randint(0, 5, (6, 16, 16))
    assert observe([(x, y), (x.flip(-1) * 1.1, y)]) == []


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_in_a_row_are_told_from_planes(channels: int) -> None:
    places = torch.linspace(0, 3, 24)
    smooth = torch.sin(places[:, None] + places[None])[..., None] + torch.tensor([0.0, 2.0, -1.0, 1.0])[:channels]
    pictures = smooth.repeat(4, 1, 1, 1) + 0.05 * torch.randn(4, 24, 24, channels)
    planes, rows = interleaved(pictures.permute(0, 3, 1, 2)), interleaved(pictures.view(4, channels, 24, 24))
    assert planes is not None
    assert planes < 0
    assert rows is not None
    assert rows > 0.5
    noise = interleaved(torch.randn(8, channels, 24, 24))
    assert noise is not None
    assert abs(noise) < 0.1
