"""Detectors of given regions, and where the regions come from."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from snellen.models.detection import builder
from snellen.models.detection.base import Target
from snellen.models.detection.proposals import FAST, SINGLE, SMALL, SelectiveSearch, segment, selective_search
from snellen.models.detection.rcnn import CONTEXT, warped_crops
from snellen.models.detection.region_detector import RegionDetector, RegionSettings, Scored, match_proposals, svm_loss
from snellen.models.detection.roi_heads import RegionSample

NAMES = ("rcnn", "spp-net", "fast-rcnn")
OBJECTS = ((10, 12, 40, 44), (60, 20, 100, 50), (30, 70, 62, 118))
COLOURS = ((220, 60, 60), (60, 200, 90), (70, 80, 230))


def scene(shift: int = 0) -> np.ndarray:
    """Three rectangles of different colours on a grey ground with a little noise; 128 x 128 RGB."""
    rng = np.random.default_rng(shift)
    image = np.full((128, 128, 3), 128, np.float64)
    for (x1, y1, x2, y2), colour in zip(OBJECTS, COLOURS, strict=True):
        image[y1:y2, x1 + shift : x2 + shift] = colour
    return (image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def batch() -> tuple[Tensor, list[Target]]:
    images = np.stack([scene(0), scene(6)])
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.225
    boxes = torch.tensor(OBJECTS, dtype=torch.float32)
    moved = boxes + torch.tensor([6.0, 0.0, 6.0, 0.0])
    labels = torch.tensor([0, 1, 2])
    return x, [Target(boxes, labels), Target(moved, labels)]


def test_the_first_cut_is_the_regions_that_are_there() -> None:
    labels = segment(scene().astype(np.float32), 300.0, 20)
    assert labels.shape == (128, 128)
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    for x1, y1, x2, y2 in OBJECTS:
        inside = labels[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
        assert len(np.unique(inside)) == 1
        assert inside[0, 0] != labels[2, 2]
    # Every region is one piece, and none is smaller than was asked for.
    for k in range(labels.max() + 1):
        assert cv2.connectedComponents((labels == k).astype(np.uint8), connectivity=8)[0] == 2
    assert np.bincount(labels.ravel()).min() >= 20


@pytest.mark.parametrize("strategies", [SINGLE, SMALL, FAST], ids=["single", "small", "fast"])
def test_selective_search_proposes_every_object(strategies) -> None:  # type: ignore[no-untyped-def]
    boxes = selective_search(scene(), strategies)
    assert np.array_equal(boxes, selective_search(scene(), strategies))
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert boxes.min() >= 0
    assert boxes.max() <= 128
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 4).all()
    assert boxes[0].tolist() == [0, 0, 128, 128]  # what was merged last is the whole image
    iou = box_iou(torch.tensor(OBJECTS, dtype=torch.float32), torch.from_numpy(boxes)).amax(1)
    assert float(iou.min()) > 0.85


def test_a_plain_image_and_a_limit() -> None:
    assert selective_search(np.full((40, 30, 3), 90, np.uint8), SINGLE).tolist() == [[0, 0, 30, 40]]
    assert len(selective_search(scene(), FAST, limit=5)) == 5


def test_the_same_content_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from snellen.models.detection import proposals

    asked = []

    def counted(*args, **options):  # type: ignore[no-untyped-def]
        asked.append(1)
        return selective_search(*args, **options)

    monkeypatch.setattr(proposals, "selective_search", counted)
    source, (x, _) = SelectiveSearch(SINGLE, remembered=2), batch()
    first = source(x[0])
    assert torch.equal(source(x[0].clone()), first)
    assert len(asked) == 1
    first += 1  # what was handed out is not what is kept
    assert not torch.equal(source(x[0]), first)
    source(x[1]), source(x.mean(0)), source(x[0])
    assert len(asked) == 4  # the least used one was forgotten


def test_a_crop_shows_the_region_within_its_context() -> None:
    side = 227
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, 20:40, 10:50] = 1.0
    [crop] = warped_crops(x, [torch.tensor([[10.0, 20.0, 50.0, 40.0]])], side)
    margin = round(CONTEXT * side)
    assert margin == 16
    assert crop.shape == (3, side, side)
    assert torch.allclose(crop[:, margin + 6 : -margin - 6, margin + 3 : -margin - 3], torch.ones(1))
    assert float(crop[:, 0].abs().max()) == 0
    # Beyond the image it is the mean.
    [cut] = warped_crops(torch.ones(1, 3, 64, 64), [torch.tensor([[0.0, 0.0, 30.0, 30.0]])], side)
    assert float(cut[:, :10, :].abs().max()) == 0
    assert float(cut[:, 30:, 30:].min()) == 1


def test_proposals_that_overlap_nothing_are_left_out_and_objects_are_added() -> None:
    target = Target(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([4]))
    given = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 3], [50, 50, 60, 60]])
    none = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    sample = match_proposals([given, given], [target, none], RegionSettings())
    assert sample.rows[0].tolist() == [0, -1, -2, 0]
    assert sample.rows[1].tolist() == [-1, -1, -1]
    assert match_proposals([given], [target], RegionSettings(background_low=0.0)).rows[0].tolist() == [0, -1, -1, 0]


def test_hinge_loss_is_scikit_learns() -> None:
    from sklearn.metrics import hinge_loss

    generator = torch.Generator().manual_seed(0)
    values, boxes = torch.randn(12, 3, generator=generator) * 2, torch.rand(12, 4, generator=generator) * 10
    boxes[:, 2:] += boxes[:, :2] + 1
    target = Target(boxes[:3] + 0.5, torch.tensor([2, 0, 1]))
    rows = torch.tensor([0, 1, 2, 0, -1, -1, -1, -1, -1, -1, 1, 2])
    terms = svm_loss(Scored([boxes], values, torch.zeros(12, 12)), [target], RegionSample([boxes], [rows]))
    labels = torch.where(rows >= 0, target.labels[rows.clamp(min=0)], -1)
    each = [12 * hinge_loss((labels == k).long() * 2 - 1, values[:, k], labels=[-1, 1]) for k in range(3)]
    assert float(terms["classes"].total) == pytest.approx(sum(each), rel=1e-5)
    assert float(terms["classes"].weight) == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_learns_a_batch_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model: RegionDetector = builder(name)(3, image_size=128)
    x, targets = batch()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(30):
        terms = model.train().loss(model(x, targets), targets)
        loss = sum(term.total / term.weight for term in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        outputs = model.eval()(x)
    for found, target in zip(model.detect(outputs, min_score=0.5), targets, strict=True):
        for iou, label in zip(box_iou(target.boxes, found.boxes), target.labels, strict=True):
            best = int((iou > 0.5).nonzero()[0])  # detections stand best first
            assert found.labels[best] == label
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assignment = model.assign(outputs, targets)
    assert assignment.objects == 6
    assert assignment.objects_without_positive == 0
    assert assignment.positives == sum(assignment.positives_per_level) > 0
    assert float(assignment.matched_iou.min()) >= 0.5


@pytest.mark.parametrize("name", NAMES)
def test_given_proposals_are_those_that_are_scored(name: str) -> None:
    torch.manual_seed(0)
    model: RegionDetector = builder(name)(2, image_size=128).eval()
    x, targets = batch()
    given = [targets[0].boxes, torch.zeros(0, 4)]
    with torch.no_grad():
        outputs = model(x, proposals=given)
        alone = model(x[:1], proposals=given[:1])
    assert outputs.regions is not None
    assert [len(b) for b in outputs.regions.boxes] == [3, 0]
    assert torch.allclose(outputs.regions.logits, alone.regions.logits, atol=1e-5)  # other images have no say
    assert len(model.detect(outputs)[1].boxes) == 0
    with torch.no_grad():
        assert len(model.detect(model(x, proposals=[torch.zeros(0, 4)] * 2))) == 2
    with pytest.raises(ValueError, match="with targets"):
        model.loss(outputs, targets)
    with pytest.raises(ValueError, match="without targets"):
        model.detect(model.train()(x, targets))


def test_published_convolutions_are_fixed_in_spp_net() -> None:
    from snellen.models.detection.fast_rcnn import one_map
    from snellen.models.detection.spp_net import SppNet

    model = SppNet(3, 128, one_map(None, False), 16, RegionSettings(), fixed=True).train()
    before = {k: v.clone() for k, v in model.body.state_dict().items()}
    x, targets = batch()
    terms = model.loss(model(x, targets), targets)
    sum(term.total for term in terms.values()).backward()
    assert all(p.grad is None for p in model.body.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.body.state_dict().items())
    assert model.fc6.weight.grad is not None
