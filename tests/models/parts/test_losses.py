"""Losses against torchvision's and torch's, their gradients, and identities."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import (
    box_iou,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from snellen.models.detection.parts.losses import (
    BOX_LOSSES,
    ciou_loss,
    diou_loss,
    giou_loss,
    iou_loss,
    sigmoid_focal,
    smooth_l1,
)
from tests.models.parts.scenes import boxes

LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 4
TARGETS = (torch.rand(40, 5, generator=torch.Generator().manual_seed(1)) > 0.8).float()


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.0), (None, 2.0)])
def test_focal_loss_is_torchvisions(alpha: float | None, gamma: float) -> None:
    theirs = sigmoid_focal_loss(LOGITS, TARGETS, alpha=-1 if alpha is None else alpha, gamma=gamma)
    assert torch.allclose(sigmoid_focal(LOGITS, TARGETS, alpha, gamma), theirs, atol=1e-6)


def test_focal_loss_is_cross_entropy_at_gamma_zero() -> None:
    plain = binary_cross_entropy_with_logits(LOGITS, TARGETS, reduction="none")
    assert torch.allclose(sigmoid_focal(LOGITS, TARGETS, alpha=0.5, gamma=0.0) * 2, plain, atol=1e-6)
    assert torch.allclose(sigmoid_focal(LOGITS, TARGETS, alpha=None, gamma=0.0), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(giou_loss, generalized_box_iou_loss), (diou_loss, distance_box_iou_loss), (ciou_loss, complete_box_iou_loss)],
)
def test_box_losses_and_their_gradients_are_torchvisions(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    a, b = boxes(200, 3), boxes(200, 4)
    both = [a.double().requires_grad_() for _ in range(2)]
    values = ours(both[0], b.double()), theirs(both[1], b.double())
    assert torch.allclose(values[0], values[1], atol=1e-6)
    for value in values:
        value.sum().backward()
    assert torch.allclose(both[0].grad, both[1].grad, atol=1e-6)


def test_iou_loss_is_one_less_the_overlap() -> None:
    a, b = boxes(100, 3), boxes(100, 4)
    assert torch.allclose(iou_loss(a, b), 1 - box_iou(a, b).diagonal(), atol=1e-6)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_are_zero_for_equal_boxes_symmetric_and_blind_to_scale(name: str) -> None:
    loss, a, b = BOX_LOSSES[name], boxes(100, 3).double(), boxes(100, 4).double()
    assert float(loss(a, a).abs().max()) < 1e-6
    assert torch.allclose(loss(a, b), loss(b, a))
    assert torch.allclose(loss(a * 8, b * 8), loss(a, b), atol=1e-6)
    degenerate = torch.zeros(1, 4)
    if name != "ciou":  # the shape of a point has no angle
        assert torch.isfinite(loss(degenerate, degenerate)).all()


def test_losses_are_ordered_and_penalties_fall_away() -> None:
    a, b = boxes(100, 3).double(), boxes(100, 4).double()
    assert (iou_loss(a, b) <= diou_loss(a, b)).all()
    assert (diou_loss(a, b) <= ciou_loss(a, b) + 1e-12).all()
    inside = torch.tensor([[10.0, 10.0, 50.0, 30.0]]).double()
    smaller = torch.tensor([[20.0, 15.0, 40.0, 25.0]]).double()  # same centre, same shape: IoU is all there is
    for name in ("giou", "diou", "ciou"):
        assert torch.allclose(BOX_LOSSES[name](smaller, inside), iou_loss(smaller, inside), atol=1e-6)


@pytest.mark.parametrize("name", ["iou", "giou", "diou"])
def test_gradients_of_box_losses(name: str) -> None:
    a, b = boxes(8, 5).double().requires_grad_(), boxes(8, 6).double()
    assert torch.autograd.gradcheck(lambda x: BOX_LOSSES[name](x, b), (a,))


def test_gradients_of_smooth_l1_and_focal() -> None:
    x = (LOGITS[:4] / 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: smooth_l1(v, TARGETS[:4].double(), 0.5), (x,))
    assert torch.autograd.gradcheck(lambda v: sigmoid_focal(v, TARGETS[:4].double()), (x,))


def test_smooth_l1_meets_at_beta_and_is_l1_at_zero() -> None:
    zero = torch.zeros(3)
    assert smooth_l1(torch.tensor([0.5, 1.0, 3.0]), zero, 1.0).tolist() == [0.125, 0.5, 2.5]
    assert smooth_l1(torch.tensor([-0.5, 1.0, 3.0]), zero, 0.0).tolist() == [0.5, 1.0, 3.0]
