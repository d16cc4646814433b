"""Suppression against torchvision, OpenCV and the papers' tensor forms."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import ops

from snellen.models.detection.parts import nms as module
from snellen.models.detection.parts import soft_nms as soft_nms_module
from snellen.models.detection.parts.matrix_nms import fast_nms, matrix_nms
from snellen.models.detection.parts.nms import batched_nms, diou_nms, nms
from snellen.models.detection.parts.soft_nms import soft_nms
from tests.models.parts.scenes import clustered

LIMITS = (0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def fuzzed(seed: int) -> tuple[Tensor, Tensor]:
    """Boxes and scores with ties, doubles, whole coordinates, boxes without area and turned inside out."""
    rng = np.random.default_rng(seed)
    boxes, scores = clustered(int(rng.integers(1, 1500)), seed, size=float(rng.choice([1, 100, 640, 5000])))
    if seed % 3 == 0:
        scores = (scores * 20).round() / 20
    if seed % 4 == 0:
        boxes = boxes.round()
    if seed % 5 == 0:
        boxes[::7, 2] = boxes[::7, 0]
        boxes[3::11, [0, 2]] = boxes[3::11, [2, 0]]
    if seed % 7 == 0:
        boxes, scores = torch.cat([boxes, boxes]), torch.cat([scores, scores])
    return boxes, scores


@pytest.mark.parametrize("few", [0, 10**9], ids=["grid", "list"])
def test_greedy_suppression_keeps_what_torchvision_keeps(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    for seed in range(40):
        boxes, scores = fuzzed(seed)
        for limit in LIMITS:
            assert torch.equal(nms(boxes, scores, limit), ops.nms(boxes, scores, limit)), (seed, limit)


def test_greedy_suppression_of_every_extreme_is_torchvisions() -> None:
    boxes, scores = clustered(600, 0)
    inf, nan = float("inf"), float("nan")
    odd = torch.tensor(
        [[0, 0, inf, inf], [nan, 0, 5, 5], [0, 0, 5, nan], [-inf, -inf, inf, inf], [1e30, 1e30, 2e30, 2e30]]
    )
    tiny = torch.tensor([[0, 0, 1e-24, 1e-24], [0, 0, 1e-24, 2e-24], [1e7, 0, 1e7 + 1, 1e-9], [3, 3, 3, 3]])
    for extra in (odd, tiny):
        both, score = torch.cat([boxes, extra]), torch.cat([scores, torch.linspace(2, 3, len(extra))])
        for limit in (0.3, 0.5):
            assert torch.equal(nms(both, score, limit), ops.nms(both, score, limit))
    scores[[3, 50]], scores[[7, 9, 11]] = nan, torch.tensor([0.0, -0.0, -inf])
    assert torch.equal(nms(boxes, scores, 0.5), ops.nms(boxes, scores, 0.5))
    assert len(nms(boxes[:0], scores[:0], 0.5)) == 0


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_greedy_suppression_takes_other_types(kind: torch.dtype) -> None:
    boxes, scores = fuzzed(9)
    boxes, scores = boxes.to(kind), scores.to(kind)
    wide = (boxes, scores) if kind == torch.float64 else (boxes.float(), scores.float())
    assert torch.equal(nms(boxes, scores, 0.5), ops.nms(*wide, 0.5))


@pytest.mark.parametrize("count", [50, 3000])
def test_suppression_by_label_is_torchvisions_label_by_label(count: int) -> None:
    boxes, scores = clustered(count, 2)
    labels = torch.randint(-1, 6, (count,), generator=torch.Generator().manual_seed(0))
    kept = torch.cat(
        [rows[ops.nms(boxes[rows], scores[rows], 0.5)] for k in range(-1, 6) for rows in [torch.where(labels == k)[0]]]
    )
    assert torch.equal(batched_nms(boxes, scores, labels, 0.5), kept[scores[kept].argsort(descending=True)])


@pytest.mark.parametrize("few", [0, 10**9], ids=["grid", "list"])
def test_suppression_by_diou_is_the_loop_of_the_paper(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    boxes, scores = clustered(300, 3)
    boxes, scores = boxes.double(), scores.double()
    diou = 1 - ops.distance_box_iou_loss(boxes[:, None].expand(-1, 300, -1), boxes.expand(300, -1, -1))
    for limit in (0.3, 0.6):
        left, kept = scores.argsort(descending=True), []
        while len(left):
            kept.append(int(left[0]))
            left = left[1:][diou[left[0], left[1:]] <= limit]
        assert diou_nms(boxes, scores, limit).tolist() == kept
        assert len(kept) > len(nms(boxes, scores, limit))  # boxes that are apart are spared


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_soft_suppression_is_opencvs(decay: str) -> None:
    method = cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_LINEAR if decay == "linear" else cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_GAUSSIAN
    for seed in range(6):
        boxes, scores = clustered(200 + 50 * seed, seed)
        boxes = boxes.round()  # OpenCV's are whole pixels
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).int().tolist()
        left, rows = cv2.dnn.softNMSBoxes(xywh, scores.tolist(), 0.01, 0.3, sigma=0.4, method=method)
        ours = soft_nms(boxes, scores, decay=decay, sigma=0.4, iou=0.3, min_score=0.01)  # type: ignore[arg-type]
        assert ours[0].tolist() == list(rows)
        assert np.allclose(ours[1].numpy(), left, atol=1e-5)


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_few_boxes_are_softened_as_many_are(decay: str) -> None:
    boxes, scores = (values[:300] for values in fuzzed(3))
    labels = torch.arange(len(boxes)) % 2
    assert len(boxes) <= soft_nms_module.FEW
    few = soft_nms(boxes, scores, labels, decay=decay)  # type: ignore[arg-type]
    # Boxes far off, which change nothing but the way.
    far = torch.tensor([1e5, 1e5, 1e5 + 1, 1e5 + 1]) + 3 * torch.arange(soft_nms_module.FEW)[:, None]
    many = soft_nms(  # type: ignore[call-overload]
        torch.cat([boxes, far]), torch.cat([scores, torch.full((len(far),), 1e-2)]),
        torch.cat([labels, torch.zeros(len(far), dtype=torch.int64)]), decay=decay,
    )  # fmt: skip
    own = many[0] < len(boxes)
    assert torch.equal(few[0], many[0][own])
    assert torch.allclose(few[1], many[1][own], rtol=1e-6)


def test_soft_suppression_by_label_is_that_of_each_label() -> None:
    boxes, scores = fuzzed(5)
    labels = torch.arange(len(boxes)) % 3
    rows, left = soft_nms(boxes, scores, labels)
    assert torch.equal(left, left.sort(descending=True).values)
    for k in range(3):
        own = torch.where(labels == k)[0]
        alone, score = soft_nms(boxes[own], scores[own])
        assert torch.equal(rows[labels[rows] == k], own[alone])
        assert torch.equal(left[labels[rows] == k], score)


def triangle(boxes: Tensor, labels: Tensor | None) -> Tensor:
    """IoU of each box (rows) with each worse one (columns); boxes best first."""
    iou = ops.box_iou(boxes, boxes)
    return (iou if labels is None else iou * (labels[:, None] == labels)).triu(1)


@pytest.mark.parametrize("seed", range(6))
def test_fast_suppression_is_the_tensor_form(seed: int) -> None:
    boxes, scores = fuzzed(seed)
    order = scores.argsort(descending=True, stable=True)
    for labels in (None, torch.arange(len(boxes)) % 3):
        iou = triangle(boxes[order], None if labels is None else labels[order]).nan_to_num()
        for limit in (0.3, 0.5, 0.75):
            assert torch.equal(fast_nms(boxes, scores, limit, labels), order[iou.amax(0) <= limit])


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
@pytest.mark.parametrize("labelled", [False, True])
def test_matrix_suppression_is_the_tensor_form(decay: str, labelled: bool) -> None:
    boxes, scores = clustered(700, 4)
    boxes, scores = boxes.double(), scores.double()
    labels = torch.arange(700) % 4 if labelled else None
    order = scores.argsort(descending=True)
    iou = triangle(boxes[order], None if labels is None else labels[order])
    covered = iou.amax(0)[:, None]
    ratio = torch.exp((covered**2 - iou**2) / 0.5) if decay == "gaussian" else (1 - iou) / (1 - covered)
    theirs = scores[order] * ratio.amin(0)
    rows, left = matrix_nms(boxes, scores, labels, decay=decay, min_score=0.05)  # type: ignore[arg-type]
    best = theirs.argsort(descending=True)
    assert torch.equal(rows, order[best][theirs[best] >= 0.05])
    assert torch.allclose(left, theirs[best][: len(left)])


def test_an_exact_double_is_removed_by_the_linear_matrix_and_no_more() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5], [30, 30, 40, 40]])
    rows, left = matrix_nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), decay="linear")
    assert rows.tolist() == [0, 3, 2, 1]
    assert torch.allclose(left, torch.tensor([0.9, 0.6, 0.35, 0.0]))


def test_decays_have_names_and_a_positive_width() -> None:
    boxes, scores = clustered(5, 0)
    for bad in ({"decay": "cubic"}, {"sigma": 0.0}):
        with pytest.raises(ValueError, match="no such decay"):
            soft_nms(boxes, scores, **bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no such decay"):
            matrix_nms(boxes, scores, **bad)  # type: ignore[arg-type]
