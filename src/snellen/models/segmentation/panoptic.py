"""Semantic scores and instance masks merged into one map in which every pixel belongs to one segment, or to none.

Kirillov, Girshick, He and Dollar 2019, "Panoptic feature pyramid networks" (arXiv:1901.02446, section 3.1), with the
rule of Kirillov et al. 2019, "Panoptic segmentation" (arXiv:1801.00868, section 7): instances by falling score, each
without the pixels of those before it; what is left goes to stuff.

Shapes: K classes of the semantic scores, D instances, H W pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VOID = 0
"""Id of pixels without a segment."""


@dataclass(frozen=True)
class PanopticSegment:
    """One segment of a panoptic map."""

    id: int
    """Its value in the map, from 1 on."""
    label: int
    """Class."""
    thing: bool
    """An instance; else stuff, of which an image holds one segment a class."""
    area: int
    """Pixels in the map."""
    score: float | None = None
    """Of an instance."""


@dataclass(frozen=True)
class Panoptic:
    """One image's merged map."""

    ids: NDArray[np.int32]
    """(H, W), `VOID` where there is no segment."""
    segments: list[PanopticSegment]
    """In order of their ids."""


def merge_panoptic(
    semantic_KHW: Tensor,
    masks_DHW: Tensor,
    scores_D: Tensor,
    labels_D: Tensor,
    *,
    stuff: Collection[int],
    min_score: float = 0.5,
    min_visible: float = 0.5,
    min_stuff_area: int = 4096,
) -> Panoptic:
    """Merge the semantic scores and the instances of one image.

    Args:
        semantic_KHW: Logits or probabilities. Pixels whose best class is not in `stuff` are void where no instance
            covers them: Panoptic FPN has one class "other" for all things, and any number of classes do.
        masks_DHW: Bool.
        scores_D: Float.
        labels_D: Classes of the instances, int64; they share their numbers with the semantic classes.
        stuff: Semantic classes that are stuff.
        min_score: Instances below are left out.
        min_visible: Instances of which less than this share is left beside the better ones are left out.
        min_stuff_area: Stuff of fewer pixels in an image is left out; 4096 is the paper's, for images of COCO.

    Raises:
        ValueError: Masks that are not of the scores' size.
    """
    height, width = semantic_KHW.shape[-2:]
    if masks_DHW.shape != (len(scores_D), height, width) or len(labels_D) != len(scores_D):
        raise ValueError(
            f"{len(scores_D)} scores, {len(labels_D)} labels and masks of {tuple(masks_DHW.shape)} for semantic scores "
            f"of {height} x {width} pixels"
        )
    ids = np.full((height, width), VOID, np.int32)
    segments: list[PanopticSegment] = []
    masks = masks_DHW.detach().cpu().numpy().astype(bool)
    scores, labels = scores_D.tolist(), labels_D.tolist()
    # Stable: of equal scores, the first goes first.
    for i in np.argsort(-np.asarray(scores), kind="stable").tolist():
        whole = int(masks[i].sum())
        visible = masks[i] & (ids == VOID)
        area = int(visible.sum())
        if scores[i] < min_score or not area or area < min_visible * whole:
            continue
        segments.append(PanopticSegment(len(segments) + 1, int(labels[i]), True, area, float(scores[i])))
        ids[visible] = segments[-1].id
    best = semantic_KHW.detach().argmax(dim=0).to(torch.int64).cpu().numpy()
    for label in sorted(stuff):
        left = (best == label) & (ids == VOID)
        area = int(left.sum())
        if area and area >= min_stuff_area:
            segments.append(PanopticSegment(len(segments) + 1, int(label), False, area))
            ids[left] = segments[-1].id
    return Panoptic(ids, segments)
