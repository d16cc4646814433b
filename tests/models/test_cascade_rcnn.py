"""Cascade R-CNN: its stages, and convolutions that move."""

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from snellen.models.detection import cascade_rcnn
from snellen.models.detection.cascade_rcnn import STAGE_IOUS, STAGE_SHARES, CascadeRcnn, DeformableConv, deform_last
from snellen.models.detection.parts.box_coder import decode
from snellen.models.detection.roi_heads import region_loss
from tests.models.test_two_stage import CLASSES, scene


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_later_stage_of_a_cascade_starts_from_the_boxes_of_the_one_before() -> None:
    model = cascade_rcnn.build(CLASSES, image_size=96)
    assert isinstance(model, CascadeRcnn)
    x, targets = scene(96, (4, 3))
    outputs = model(x, targets)
    assert len(outputs.learnt) == len(outputs.samples) == 3
    for stage in (1, 2):
        before = outputs.learnt[stage - 1]
        moved = decode(before.offsets, torch.cat(before.boxes), cascade_rcnn.STAGE_WEIGHTS[stage - 1]).clamp(0, 96)
        torch.testing.assert_close(torch.cat(outputs.samples[stage].boxes), moved.detach())
        for boxes, rows, target in zip(outputs.samples[stage].boxes, outputs.samples[stage].rows, targets, strict=True):
            best, row = box_iou(target.boxes, boxes).max(0)
            assert torch.equal(rows, torch.where(best >= STAGE_IOUS[stage], row, -1))
    terms = model.loss(outputs, targets)
    second = region_loss(outputs.learnt[1], targets, outputs.samples[1], weights=cascade_rcnn.STAGE_WEIGHTS[1])
    assert float(terms["classes_2"].total.detach()) == pytest.approx(
        float(second["classes"].total.detach()) * STAGE_SHARES[1]
    )
    assert set(terms) == {
        "objectness",
        "proposal_boxes",
        *(f"{kind}_{stage}" for kind in ("classes", "boxes") for stage in (1, 2, 3)),
    }


def test_a_deformable_convolution_starts_as_the_one_it_replaces_and_learns_where_to_look() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    x = torch.randn(2, 4, 9, 9)
    wanted = conv(x)
    deformable = DeformableConv(conv)
    torch.testing.assert_close(deformable(x), wanted, atol=1e-5, rtol=1e-5)
    deformable(x).square().sum().backward()
    assert deformable.moves.weight.grad is not None
    assert deformable.moves.weight.grad.any()
    model = cascade_rcnn.build(CLASSES, image_size=96, deformable=2)
    assert sum(isinstance(m, DeformableConv) for m in model.modules()) == 2
    assert all(isinstance(m, DeformableConv) for m in (model.backbone.body.body.stages[3][0].conv1[0],))
    images, targets = scene(96, (2,))
    assert torch.isfinite(model.loss(model(images, targets), targets)["classes_3"].total)
    with pytest.raises(ValueError, match="plain 3x3"):
        deform_last(nn.Sequential(conv), 2)
