"""Weighted boxes fusion against its definition; `benchmarks/suppression.py` holds it against ensemble-boxes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snellen.models.detection.parts.wbf import weighted_boxes_fusion
from tests.models.parts.scenes import clustered

KINDS = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")


def overlap(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def by_the_paper(
    models: list[tuple[Tensor, Tensor, Tensor]], weights: list[float], limit: float, kind: str
) -> list[Any]:
    """Lists B, L and F of sec. 3, with clusters recomputed whole."""
    found = []
    for label in sorted({int(k) for _, _, labels in models for k in labels}):
        entries = [
            (float(s) * weights[m], m, b.double().numpy())
            for m, (boxes, scores, labels) in enumerate(models)
            for b, s, k in zip(boxes, scores, labels, strict=True)
            if int(k) == label
        ]
        clusters: list[list[Any]] = []
        fused: list[Any] = []
        for entry in sorted(entries, key=lambda e: -e[0]):
            ious = [overlap(entry[2], f) for f in fused]
            at = int(np.argmax(ious)) if ious else -1
            if at >= 0 and ious[at] > limit:
                clusters[at].append(entry)
            else:
                at = len(clusters)
                clusters.append([entry])
                fused.append(None)
            s = np.array([e[0] for e in clusters[at]])
            fused[at] = (s[:, None] * np.array([e[2] for e in clusters[at]])).sum(0) / s.sum()
        for box, members in zip(fused, clusters, strict=True):
            s, w = [e[0] for e in members], [weights[e[1]] for e in members]
            present = sum(weights[m] for m in {e[1] for e in members})
            score = {
                "avg": np.mean(s) * min(len(members), len(models)) / sum(weights),
                "max": max(s) / max(weights),
                "box_and_model_avg": sum(s) / sum(w) * present / sum(weights),
                "absent_model_aware_avg": sum(s) / (sum(w) + sum(weights) - present),
            }[kind]
            found.append((score, *box, label))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_fusion_is_that_of_the_paper(kind: str) -> None:
    models = []
    for m in range(3):
        boxes, scores = clustered(120, 10, objects=12)
        moved = boxes + torch.randn(boxes.shape, generator=torch.Generator().manual_seed(m)) * 2
        models.append((moved, scores * 0.8 + 0.05 * m, torch.arange(120) % 2))
    weights = [1.0, 2.0, 0.5]
    boxes, scores, labels = weighted_boxes_fusion(
        [m[0] for m in models],
        [m[1] for m in models],
        [m[2] for m in models],
        weights=weights,
        confidence=kind,  # type: ignore[arg-type]
    )
    theirs = np.array(by_the_paper(models, weights, 0.55, kind))
    assert boxes.shape == (len(theirs), 4)
    assert np.allclose(scores.numpy(), theirs[:, 0], atol=1e-5)
    assert np.allclose(boxes.numpy(), theirs[:, 1:5], atol=1e-3)
    assert labels.tolist() == theirs[:, 5].astype(int).tolist()


def test_one_box_seen_by_one_of_two_models_loses_half_its_score() -> None:
    box, none = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.zeros(0, 4)
    boxes, scores, labels = weighted_boxes_fusion(
        [box, none], [torch.tensor([0.8]), torch.zeros(0)], [torch.tensor([3]), torch.zeros(0, dtype=torch.int64)]
    )
    assert torch.equal(boxes, box)
    assert torch.allclose(scores, torch.tensor([0.4]))
    assert labels.tolist() == [3]


def test_nothing_fuses_to_nothing_and_wrong_use_is_told() -> None:
    assert weighted_boxes_fusion([], [], [])[0].shape == (0, 4)
    empty = [torch.zeros(0, 4)], [torch.zeros(0)], [torch.zeros(0, dtype=torch.int64)]
    assert weighted_boxes_fusion(*empty)[0].shape == (0, 4)
    with pytest.raises(ValueError, match="2 weights"):
        weighted_boxes_fusion(*empty, weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="positive"):
        weighted_boxes_fusion(*empty, weights=[0.0])
    with pytest.raises(ValueError, match="mean"):
        weighted_boxes_fusion(*empty, confidence="mean")  # type: ignore[arg-type]
