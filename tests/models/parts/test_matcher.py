"""Matching against torchvision's matchers."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou

from snellen.models.detection.parts.matcher import match, match_ssd
from tests.models.parts.scenes import boxes


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("keep_best", [True, False])
def test_matcher_agrees_with_torchvision(seed: int, keep_best: bool) -> None:
    iou = box_iou(boxes(7, seed), boxes(300, seed + 100))
    for high, low in ((0.5, 0.4), (0.7, 0.3), (0.5, 0.5)):
        theirs = Matcher(high, low, allow_low_quality_matches=keep_best)(iou)
        assert torch.equal(match(iou, high, low, keep_best), theirs)


def test_ties_are_all_kept_as_by_torchvision() -> None:
    iou = torch.tensor([[0.2, 0.2, 0.1, 0.0], [0.3, 0.1, 0.1, 0.05]])
    assert torch.equal(match(iou, 0.5, 0.4), Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou))


def test_an_object_that_no_anchor_meets_makes_nothing_positive() -> None:
    iou = torch.tensor([[0.6, 0.0, 0.1], [0.0, 0.0, 0.0]])
    assert match(iou, 0.5, 0.4).tolist() == [0, -1, -1]
    # What is avoided: torchvision makes every anchor positive here.
    assert Matcher(0.5, 0.4, allow_low_quality_matches=True)(iou).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_matching_of_ssd_agrees_with_torchvision(seed: int) -> None:
    # Few anchors, so that objects quarrel about the best one.
    iou = box_iou(boxes(7, seed), boxes(12 if seed % 2 else 300, seed + 100))
    assert torch.equal(match_ssd(iou, 0.5), SSDMatcher(0.5)(iou))


def test_without_objects_everything_is_background() -> None:
    assert (match(torch.zeros(0, 5), 0.5, 0.4) == -1).all()
    assert (match_ssd(torch.zeros(0, 5)) == -1).all()
    assert match(torch.zeros(3, 0), 0.5, 0.4).shape == match_ssd(torch.zeros(3, 0)).shape == (0,)
