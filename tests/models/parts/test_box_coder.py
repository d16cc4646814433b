"""Offsets of boxes against torchvision's coder."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from snellen.models.detection.parts.box_coder import LARGEST_LOG_SCALE, ROI_WEIGHTS, UNIT, decode, encode
from tests.models.parts.scenes import boxes


@pytest.mark.parametrize("weights", [UNIT, ROI_WEIGHTS])
def test_offsets_are_torchvisions(weights: tuple[float, float, float, float]) -> None:
    objects, anchors = boxes(50, 1, 1000.0), boxes(50, 2, 1000.0)
    coder = BoxCoder(weights)
    offsets = encode(objects, anchors, weights)
    assert torch.equal(offsets, coder.encode([objects], [anchors])[0])
    fit = (offsets[:, 2:] / torch.tensor(weights[2:])).amax(1) < LARGEST_LOG_SCALE
    assert torch.allclose(decode(offsets, anchors, weights)[fit], objects[fit], atol=1e-2)
    noise = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(decode(noise, anchors, weights), coder.decode_single(noise, anchors))


def test_offsets_of_each_class_share_a_proposal() -> None:
    proposals = boxes(20, 3)
    offsets = torch.randn(20, 5 * 4, generator=torch.Generator().manual_seed(0))
    theirs = BoxCoder(ROI_WEIGHTS).decode(offsets, [proposals])
    assert torch.equal(decode(offsets.view(20, 5, 4), proposals[:, None], ROI_WEIGHTS), theirs)


def test_an_exploding_head_decodes_to_finite_boxes() -> None:
    assert torch.isfinite(decode(torch.full((1, 4), 1e4), boxes(1, 0))).all()
