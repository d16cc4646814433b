"""The detector's parts against torchvision's, and against what their documentation says."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from snellen.models.detection.parts.anchors import fit_sides, general_sides, grid_anchors, size_iou
from snellen.models.detection.parts.box_coder import decode, encode
from snellen.models.detection.parts.losses import giou_loss, sigmoid_focal
from snellen.models.detection.parts.matcher import match


def boxes(count: int, seed: int, size: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * size / 2], dim=1)


@pytest.mark.parametrize("seed", range(20))
def test_matcher_agrees_with_torchvision(seed: int) -> None:
    iou = box_iou(boxes(7, seed), boxes(300, seed + 100))
    theirs = Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou)
    assert torch.equal(match(iou, 0.5, 0.4), theirs)


def test_without_objects_everything_is_background() -> None:
    assert (match(torch.zeros(0, 5), 0.5, 0.4) == -1).all()


def test_decoding_undoes_encoding_and_agrees_with_torchvision() -> None:
    objects, anchors = boxes(50, 1), boxes(50, 2)
    offsets = encode(objects, anchors)
    assert torch.allclose(decode(offsets, anchors), objects, atol=1e-3)
    assert torch.allclose(offsets, BoxCoder((1.0, 1.0, 1.0, 1.0)).encode([objects], [anchors])[0], atol=1e-5)


def test_an_exploding_head_decodes_to_finite_boxes() -> None:
    assert torch.isfinite(decode(torch.full((1, 4), 1e4), boxes(1, 0))).all()


def test_focal_loss_agrees_with_torchvision_and_is_cross_entropy_at_gamma_zero() -> None:
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 4
    targets = (torch.rand(40, 5, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    assert torch.allclose(sigmoid_focal(logits, targets), sigmoid_focal_loss(logits, targets), atol=1e-6)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert torch.allclose(sigmoid_focal(logits, targets, alpha=0.5, gamma=0.0) * 2, plain, atol=1e-6)


def test_giou_agrees_with_torchvision() -> None:
    a, b = boxes(100, 3), boxes(100, 4)
    assert torch.allclose(giou_loss(a, b), generalized_box_iou_loss(a, b), atol=1e-5)
    assert float(giou_loss(a, a).abs().max()) < 1e-5


def test_anchors_have_the_documented_order_and_sides() -> None:
    sides = [torch.tensor([[8.0, 4.0]]), torch.tensor([[16.0, 16.0], [32.0, 8.0]])]
    anchors = grid_anchors([(2, 3), (1, 1)], [8, 16], sides)
    assert anchors.shape == (2 * 3 + 2, 4)
    assert anchors[0].tolist() == [0.0, 2.0, 8.0, 6.0]
    assert anchors[1].tolist() == [8.0, 2.0, 16.0, 6.0]  # next column before next row
    assert anchors[3].tolist() == [0.0, 10.0, 8.0, 14.0]
    assert anchors[7].tolist() == [-8.0, 4.0, 24.0, 12.0]


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
