"""Several networks that answer together: snapshots of one run, folds of a cross-validation, bags.

Labels and class maps: the mean of the probabilities. Boxes: weighted boxes fusion of what each found, where a box that
few of them found loses score.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snellen.models.detection.base import Found
from snellen.models.detection.parts.wbf import weighted_boxes_fusion


class Ensemble(nn.Module):
    """Networks of one task, classes and input size under the face of a single one."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        first = members[0]
        self.task: Any = getattr(first, "task", "classification")
        self.num_classes: Any = getattr(first, "num_classes", None)
        self.image_size: Any = getattr(first, "image_size", None)

    def forward(self, x: Tensor) -> Any:
        """x_NCHW -> the logarithm of the mean probabilities (N, K, ...); a detector's raw outputs, one a member."""
        outputs = [member(x) for member in self.members]
        if self.task == "detection":
            return outputs
        # log((1/M) sum p) in one go: probabilities of 1e-30 do not vanish on the way.
        logs = torch.stack([logits.float().log_softmax(dim=1) for logits in outputs])
        return logs.logsumexp(dim=0) - torch.tensor(float(len(outputs))).log()

    @torch.no_grad()
    def detect(
        self, outputs: Sequence[Any], *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Fused detections of each image, best first, at most `limit`. Masks are not fused, and left out."""
        each = [
            member.detect(out, min_score=min_score, nms_iou=nms_iou, limit=limit)  # type: ignore[operator]
            for member, out in zip(self.members, outputs, strict=True)
        ]
        found = []
        for told in zip(*each, strict=True):
            boxes, scores, labels = weighted_boxes_fusion(
                [f.boxes for f in told], [f.scores for f in told], [f.labels for f in told], iou=nms_iou
            )
            kept = (scores >= min_score).nonzero().flatten()[:limit]
            found.append(Found(boxes[kept], scores[kept], labels[kept]))
        return found
