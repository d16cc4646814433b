"""Anchors against torchvision's generators, and against what their documentation says."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from snellen.models.detection.parts.anchors import (
    default_boxes,
    default_scales,
    default_sides,
    fit_sides,
    general_sides,
    grid_anchors,
    shaped_sides,
    size_iou,
)
from snellen.models.detection.parts.level_fields import level_fields
from snellen.models.detection.ssdlite import SsdLite


def maps(shapes: list[tuple[int, int]]) -> list[Tensor]:
    return [torch.zeros(1, 1, h, w) for h, w in shapes]


def images(height: int, width: int) -> ImageList:
    return ImageList(torch.zeros(1, 3, height, width), [(height, width)])


def test_anchors_have_the_documented_order_and_sides() -> None:
    sides = [torch.tensor([[8.0, 4.0]]), torch.tensor([[16.0, 16.0], [32.0, 8.0]])]
    anchors = grid_anchors([(2, 3), (1, 1)], [8, 16], sides)
    assert anchors.shape == (2 * 3 + 2, 4)
    assert anchors[0].tolist() == [0.0, 2.0, 8.0, 6.0]
    assert anchors[1].tolist() == [8.0, 2.0, 16.0, 6.0]  # next column before next row
    assert anchors[3].tolist() == [0.0, 10.0, 8.0, 14.0]
    assert anchors[7].tolist() == [-8.0, 4.0, 24.0, 12.0]


@pytest.mark.parametrize(
    ("scales", "ratios"),
    [
        ([[32], [64], [128]], [[0.5, 1.0, 2.0]] * 3),  # Faster R-CNN
        (
            [[x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))] for x in (32, 64, 128)],
            [[0.5, 1.0, 2.0]] * 3,
        ),  # RetinaNet
        ([[8], [16], [32]], [[1.0]] * 3),  # FCOS
        ([[13.7, 21.0]] * 3, [[0.3, 1.7]] * 3),
    ],
)
def test_hand_set_anchors_are_torchvisions(scales: list[list[float]], ratios: list[list[float]]) -> None:
    shapes = [(40, 56), (20, 28), (10, 14)]
    generator = AnchorGenerator(tuple(map(tuple, scales)), tuple(map(tuple, ratios)))
    theirs = generator(images(327, 450), maps(shapes))[0]
    sides = [torch.tensor(shaped_sides(s, r)) for s, r in zip(scales, ratios, strict=True)]
    ours = grid_anchors(shapes, [(327 // h, 450 // w) for h, w in shapes], sides, offset=0)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("steps", [None, [8, 16, 32, 64, 100, 300]])
def test_default_boxes_are_torchvisions(steps: list[int] | None) -> None:
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05] if steps else default_scales(6, 0.2, 0.95)
    generator = DefaultBoxGenerator(ratios, 0.2, 0.95, scales=scales if steps else None, steps=steps)
    shapes = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
    sides = [torch.tensor(wh) for wh in default_sides(scales, ratios)]
    ours = default_boxes(shapes, sides, (300, 310), steps)
    assert torch.equal(ours, generator(images(300, 310), maps(shapes))[0])


def test_fitted_anchors_cover_what_they_were_fitted_to() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal((20, 20), 2, (300, 2)), rng.normal((110, 90), 8, (100, 2))
    sizes = np.concatenate([small, large])
    levels = fit_sides(sizes, (8, 16, 32))
    anchors = np.array([wh for level in levels for wh in level])
    assert size_iou(sizes, anchors).max(axis=1).mean() > 0.8
    assert all(np.prod(wh) < 40**2 for wh in levels[0])
    assert levels[2]
    general = np.array([wh for level in general_sides(128, (8, 16, 32)) for wh in level])
    assert size_iou(sizes, anchors).max(axis=1).mean() > size_iou(sizes, general).max(axis=1).mean()


def test_one_size_gives_one_anchor() -> None:
    assert fit_sides(np.full((5, 2), 30.0), (8, 16, 32)) == [[[30.0, 30.0]], [], []]


def test_an_anchor_goes_to_a_level_whose_cells_see_it() -> None:
    strides = (8, 16, 32)
    assert fit_sides(np.full((5, 2), 100.0), strides) == [[], [], [[100.0, 100.0]]]
    assert fit_sides(np.full((5, 2), 100.0), strides, fields=(40, 110, 90)) == [[], [[100.0, 100.0]], []]
    # Too small for 3 cells of the only levels that see it: the finest of them.
    assert fit_sides(np.full((5, 2), 20.0), strides, fields=(15, 60, 90)) == [[], [[20.0, 20.0]], []]
    assert fit_sides(np.full((5, 2), 200.0), strides, fields=(40, 120, 90)) == [[], [[200.0, 200.0]], []]


def test_fields_of_levels_are_measured_and_anchors_fitted_to_them() -> None:
    torch.manual_seed(0)
    model = SsdLite(3, image_size=128)
    fields = level_fields(model, 128, samples=2)
    assert len(fields) == 3
    assert 8 < fields[0] < fields[2] <= 128
    sizes = np.random.default_rng(0).uniform(8, 60, (200, 2))
    for i, level in enumerate(fit_sides(sizes, (8, 16, 32), fields=fields)):
        assert all(max(wh) <= fields[i] for wh in level)
