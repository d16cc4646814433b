"""What is known of predictions: every prediction, every object, and the scores they add up to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from snellen.facts import Facts, Schema, table

# One row a prediction: an image in classification, a box or segment in detection and panoptic, a label told in
# multi-label. Semantic has one an image: the pair of classes that costs it most pixels (null when none does), its own
# mean IoU, no outcome, and the share of its pixels that is wrong as the loss.
PREDICTIONS: Schema = {
    "image": (pl.String(), "key of the dataset's images"),
    "class_name": (pl.String(), "predicted class"),
    "score": (pl.Float64(), "0..1"),
    "x1": (pl.Float64(), "xyxy pixels of the decoded image; null in classification"),
    "y1": (pl.Float64(), ""),
    "x2": (pl.Float64(), ""),
    "y2": (pl.Float64(), ""),
    "true_class": (pl.String(), "classification: the label; detection: the class of the overlapped object, or null"),
    "iou": (pl.Float64(), "largest overlap with any object; null in classification"),
    "outcome": (pl.String(), "correct, classification, localisation, both, duplicate, background or ignored"),
    "loss": (pl.Float64(), "classification: cross-entropy of this image; semantic: share of wrong pixels; else null"),
    "object": (pl.Int64(), "detection: row of `objects` that it matches, or that its error claims; null when none"),
    "hits": (pl.UInt16(), "detection: bit t is set where it is right at the t-th IoU threshold (0.50, 0.55 ...)"),
    "excused": (pl.UInt16(), "detection: bit t is set where it counts as nothing (crowd, not judged)"),
}

OBJECTS: Schema = {
    "image": (pl.String(), ""),
    "class_name": (pl.String(), ""),
    "x1": (pl.Float64(), "xyxy pixels"),
    "y1": (pl.Float64(), ""),
    "x2": (pl.Float64(), ""),
    "y2": (pl.Float64(), ""),
    "found": (pl.Boolean(), "matched by a prediction of its class at IoU 0.5; multi-label: the label is told"),
    "best_iou": (pl.Float64(), "largest overlap with any prediction of its class"),
    "score": (pl.Float64(), "score of the match; null when missed"),
    "crowd": (pl.Boolean(), "ignored in scoring"),
    "cause": (pl.String(), "found; localisation or classification: the error that claims it; missed; null: ignored"),
    "area": (pl.Float64(), "px^2, as the size classes take it: as stated, else of the mask or box that is compared"),
    "aspect": (pl.Float64(), "width / height of the box"),
    "border": (pl.Boolean(), "reaches the edge of the image; null when its size is not known"),
    "neighbours": (pl.Int64(), "other objects of the image whose box touches this one; crowd regions are none"),
    "crowding": (pl.Float64(), "largest IoU with another object's box; 0 when none touches"),
    "same_class_iou": (pl.Float64(), "largest IoU with another object of its class"),
}

PER_CLASS: Schema = {
    "class_name": (pl.String(), ""),
    "objects": (pl.Int64(), "ground-truth objects; images in classification, labelled pixels in semantic"),
    "predictions": (pl.Int64(), ""),
    "ap": (
        pl.Float64(),
        "AP@[.5:.95] (detection) or average precision of the class (classification); null: no objects",
    ),
    "ap50": (pl.Float64(), "null in classification"),
    "ap75": (pl.Float64(), "detection: AP at IoU 0.75"),
    "ap_small": (pl.Float64(), "detection: AP@[.5:.95] of objects up to 32^2 px; null: there are none"),
    "ap_medium": (pl.Float64(), "likewise from 32^2 to 96^2 px"),
    "ap_large": (pl.Float64(), "likewise from 96^2 px on"),
    "ar": (pl.Float64(), "detection: average recall over IoU 0.50:0.95, within the largest detection limit"),
    "olrp": (pl.Float64(), "detection: optimal localisation-recall-precision error at IoU 0.5, 0 (best) to 1"),
    "precision": (pl.Float64(), "at `best_threshold` (detection) or of the argmax (classification)"),
    "recall": (pl.Float64(), "likewise"),
    "f1": (pl.Float64(), "likewise"),
    "best_threshold": (pl.Float64(), "score threshold of the best F1; null in classification"),
    "f05": (pl.Float64(), "F-beta of `precision` and `recall` with beta 0.5"),
    "f2": (pl.Float64(), "likewise with beta 2"),
    "g_mean": (pl.Float64(), "classification: geometric mean of recall and specificity, 0..1"),
    "roc_auc": (pl.Float64(), "classification: the class against the rest, 0..1"),
    "iou": (pl.Float64(), "semantic: TP / (TP + FP + FN) in pixels, pooled over the images; 0..1"),
    "dice": (pl.Float64(), "semantic: 2 TP / (2 TP + FP + FN) in pixels, pooled"),
    "boundary_iou": (pl.Float64(), "semantic: IoU of the pixels near the class's boundary, pooled"),
    "boundary_f": (pl.Float64(), "semantic: F1 of the class's contours, mean over the images that hold the class"),
    "pq": (pl.Float64(), "panoptic quality, 0..1"),
    "sq": (pl.Float64(), "panoptic: mean IoU of the matched segments, 0..1"),
    "rq": (pl.Float64(), "panoptic: F1 of the segments, 0..1"),
    "undefined": (pl.String(), "why values of this row are null; null where the evaluator does not say"),
}

CURVES: Schema = {
    "class_name": (pl.String(), ""),
    "recall": (pl.Float64(), "0..1, ascending within a class, at most 101 points"),
    "precision": (pl.Float64(), "0..1"),
    "score": (pl.Float64(), "threshold at this point"),
    "fpr": (pl.Float64(), "share of the negatives at or above the threshold; null in detection"),
}

CONFUSION: Schema = {
    "true_class": (pl.String(), "`(background)` for a false positive in detection"),
    "predicted_class": (pl.String(), "`(background)` for a missed object in detection"),
    "count": (pl.Int64(), ""),
}

SCORES: Schema = {
    "metric": (pl.String(), "mAP, mAP50, mAP75, mAP_small ..., accuracy, balanced_accuracy, macro_f1, ece ..."),
    "value": (pl.Float64(), "null when undefined (pycocotools' -1)"),
    "low": (pl.Float64(), "95 % bootstrap interval; null when not taken"),
    "high": (pl.Float64(), ""),
    "undefined": (pl.String(), "why the value is null; null where the evaluator does not say"),
}

RELIABILITY: Schema = {
    "class_name": (pl.String(), "`(all)`, or the class whose scores these are"),
    "low": (pl.Float64(), "the bin's lower edge, not in it"),
    "high": (pl.Float64(), "the bin's upper edge, in it"),
    "count": (pl.Int64(), "predictions in the bin"),
    "confidence": (pl.Float64(), "their mean score; null in an empty bin"),
    "accuracy": (pl.Float64(), "the share of them that is right; null in an empty bin"),
}

EVALUATED: Schema = {
    "image": (pl.String(), "every evaluated image, also those without objects or predictions"),
    "objects": (pl.Int64(), "to be found"),
    "correct": (pl.Int64(), "predictions at or above the threshold of the best F1 that are right"),
    "wrong": (pl.Int64(), "those that are wrong"),
    "missed": (pl.Int64(), "objects without a right one"),
}

COSTS: Schema = {
    "kind": (pl.String(), "localisation, classification, both, duplicate, background or missed"),
    "property": (pl.String(), "class, size, aspect, border, crowding, or a property of the image"),
    "bin": (pl.String(), "in words; for `class` its name"),
    "errors": (pl.Int64(), "errors of the kind in the bin; a missed object is one"),
    "cost": (pl.Float64(), "mAP50 points (0..1) won by mending only these; by class they add up to the kind's cost"),
}

SLICES: Schema = {
    "property": (pl.String(), "as in `costs`"),
    "bin": (pl.String(), "in words, in order of the rows"),
    "low": (pl.Float64(), "lower bound, included; null where it is a category"),
    "high": (pl.Float64(), "upper bound, not included; null where it is a category"),
    "objects": (pl.Int64(), "to be found"),
    "found": (pl.Int64(), "found at IoU 0.5 by any prediction, whatever its score"),
    "found_at_threshold": (pl.Int64(), "found by a prediction at or above the threshold of the best F1"),
}

SEGMENTS: Schema = {
    "segment": (pl.String(), "conditions in words: `size below 24 px and brightness below 0.3`"),
    "count": (pl.Int64(), "objects (detection) or images (classification) in it, of the half that validates"),
    "failed": (pl.Int64(), "of these: not found at the threshold of the best F1, or wrongly classified"),
    "others": (pl.Int64(), "outside it, of the same half"),
    "others_failed": (pl.Int64(), "of these"),
    "p": (pl.Float64(), "chance of such a difference if the segment were like the rest, adjusted by Holm"),
    "excess": (pl.Float64(), "share of all failures that would go if the segment failed as the rest does"),
    "images": (pl.List(pl.String()), "up to 10 images with failures in it"),
}

SUPPRESSION: Schema = {
    "iou_threshold": (pl.Float64(), "suppression anew within each class at this IoU; null: the predictions as given"),
    "kept": (pl.Int64(), "predictions left"),
    "map50": (pl.Float64(), "0..1"),
    "duplicates": (pl.Int64(), "second boxes on a found object"),
    "found": (pl.Int64(), "objects found"),
}

SUSPECTS: Schema = {
    "kind": (pl.String(), "overlooked, misplaced or swapped (an object), mislabelled (an image)"),
    "image": (pl.String(), ""),
    "label": (pl.String(), "the class labelled; null for an object without a label"),
    "suggested": (pl.String(), "the class predicted"),
    "score": (pl.Float64(), "of the prediction, 0..1"),
    "usual": (pl.Float64(), "mean score of the right predictions of that class, which this one reaches"),
    "share_right": (pl.Float64(), "share right of the predictions of that class which reach `usual`, 0..1"),
    "label_score": (pl.Float64(), "what the model gives the label as it stands, 0..1; null where there is none"),
    "iou": (pl.Float64(), "with the object labelled; null in classification"),
    "object": (pl.Int64(), "row of `objects`; null in classification and where there is none"),
    "x1": (pl.Float64(), "the box predicted, xyxy pixels; null in classification"),
    "y1": (pl.Float64(), ""),
    "x2": (pl.Float64(), ""),
    "y2": (pl.Float64(), ""),
    "learned": (pl.Boolean(), "the model was trained on the image; null where that is not known"),
}

PROBLEMS: Schema = {
    "kind": (pl.String(), "kebab-case: nan-box, nan-score, unknown-image, unknown-class, inverted-box, ..."),
    "row": (pl.Int64(), "1-based position among the predictions as given"),
    "image": (pl.String(), "as the prediction names it"),
    "value": (pl.String(), "the offending value, at most 200 characters"),
}

ALL_CLASSES = "(all)"
"""The class name of the curve over all classes together."""
BACKGROUND_CLASS = "(background)"
"""What the confusion of a detector names where there is no object, or no prediction."""


@dataclass(frozen=True, kw_only=True)
class ScoreFacts(Facts):
    """Tables of one evaluation."""

    TABLES: ClassVar[Mapping[str, Schema]] = {
        "predictions": PREDICTIONS,
        "objects": OBJECTS,
        "per_class": PER_CLASS,
        "curves": CURVES,
        "confusion": CONFUSION,
        "scores": SCORES,
        "problems": PROBLEMS,
        "reliability": RELIABILITY,
        "evaluated": EVALUATED,
        "costs": COSTS,
        "slices": SLICES,
        "segments": SEGMENTS,
        "suppression": SUPPRESSION,
        "suspects": SUSPECTS,
    }

    task: str
    split: str
    predictions: pl.DataFrame
    objects: pl.DataFrame
    per_class: pl.DataFrame
    curves: pl.DataFrame
    confusion: pl.DataFrame
    scores: pl.DataFrame
    problems: pl.DataFrame
    """Predictions left out, and why."""
    reliability: pl.DataFrame = field(default_factory=lambda: table(RELIABILITY))
    """What a reliability diagram draws."""
    evaluated: pl.DataFrame = field(default_factory=lambda: table(EVALUATED))
    costs: pl.DataFrame = field(default_factory=lambda: table(COSTS))
    """What the errors of each kind cost in each class, size, ... of object."""
    slices: pl.DataFrame = field(default_factory=lambda: table(SLICES))
    """Recall in each class, size, ... of object."""
    segments: pl.DataFrame = field(default_factory=lambda: table(SEGMENTS))
    """Where the model fails more than elsewhere, found in one half of the images and confirmed in the other."""
    suppression: pl.DataFrame = field(default_factory=lambda: table(SUPPRESSION))
    """What another threshold of non-maximum suppression would give."""
    suspects: pl.DataFrame = field(default_factory=lambda: table(SUSPECTS))
    """Labels that the predictions speak against, the surest first."""
    convention: str = ""
    """Which definition the headline metric follows, in words."""
    images: int = 0
    """Images evaluated."""
    input_size: int | None = None
    """Longer side of the network's input, pixels."""
    error_costs: dict[str, float] = field(default_factory=dict)
    """Error type -> mAP50 points (0..1) that removing only these errors would win."""
    special_costs: dict[str, float] = field(default_factory=dict)
    """`false_positive` and `false_negative` -> mAP50 points won without any false positive, or any object missed."""
    suppressed: dict[str, float] = field(default_factory=dict)
    """What suppression removed: limit (IoU), at_risk, lost (objects), cost (mAP50 points); empty where none shows."""
    predictions_without_objects: int = 0
    """Detection: scored predictions of classes that have not a single object; false as they are, they cost no mAP."""
    simple_baseline: dict[str, Any] = field(default_factory=dict)
    """What a linear model on edges and colours reaches: name, images, accuracy, network, only_baseline, only_network
    (`training.simple_baseline`); empty when none was fitted."""
    learned_images: int | None = None
    """Of the images evaluated, those that the model was trained on; None: not known."""
    seconds_per_image: float | None = None
    """Wall time of predicting one image, reading and preparing it included; None where a file holds the predictions."""
    train_scores: dict[str, float] = field(default_factory=dict)
    """The headline metrics on the training split, where they were taken."""

    def score(self, metric: str) -> float | None:
        """The value of one metric; None when it is undefined or was not computed."""
        found = self.scores.filter(pl.col("metric") == metric)["value"]
        return float(found[0]) if len(found) and found[0] is not None else None
