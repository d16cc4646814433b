"""Features of regions against torchvision's, and by hand."""

import pytest
import torch
from torch.nn.functional import adaptive_max_pool2d
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from snellen.models.detection.parts.roi import align_over_levels, level_of, pool_rois, pyramid_pool
from tests.models.parts.scenes import boxes


def test_pooling_a_box_of_whole_cells_is_adaptive_pooling() -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    # torchvision counts the last cell in: (12, 20) px at stride 4 are cells 3..5
    out = pool_rois(x, [torch.zeros(0, 4), torch.tensor([[12.0, 8.0, 32.0, 28.0]])], 3, 4.0)
    assert out.shape == (1, 3, 3, 3)
    assert torch.equal(out[0], adaptive_max_pool2d(x[1:, :, 2:8, 3:9], 3)[0])


def test_pyramid_ends_with_the_maximum_of_the_box() -> None:
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    out = pyramid_pool(x, [torch.tensor([[0.0, 0.0, 60.0, 60.0]])], 4.0, (4, 2, 1))
    assert out.shape == (1, 4 * (16 + 4 + 1))
    assert torch.equal(out[0, -4:], x[0].flatten(1).max(1).values)


@pytest.mark.parametrize("levels", [1, 4])
def test_alignment_over_levels_is_torchvisions(levels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    strides = [4, 8, 16, 32][4 - levels :]
    maps = [torch.randn(2, 5, 512 // s, 512 // s, generator=generator).requires_grad_() for s in strides]
    some = [boxes(30, 1, 400.0), boxes(20, 2, 60.0)]
    pool = MultiScaleRoIAlign([str(i) for i in range(levels)], 7, 2)
    theirs = pool({str(i): x for i, x in enumerate(maps)}, some, [(512, 512)] * 2)
    ours = align_over_levels(maps, strides, some, 7)
    assert torch.equal(ours, theirs)
    weight = torch.randn(ours.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), maps),
        torch.autograd.grad((theirs * weight).sum(), maps),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_levels_follow_eq_1() -> None:
    side = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.0, 448.0, 9000.0])
    square = torch.stack([0 * side, 0 * side, side, side], dim=1)
    assert level_of(square, [4, 8, 16, 32]).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    some = boxes(200, 0, 600.0)
    assert torch.equal(level_of(some, [4, 8, 16, 32]), LevelMapper(2, 5)([some]))
    assert level_of(torch.zeros(1, 4), [4, 8]).tolist() == [0]
