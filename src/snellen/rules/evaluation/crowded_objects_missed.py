"""See CrowdedObjectsMissed."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.evaluation._recall_gap import GAP_CAUSES, RecallGapOptions, recall_gap


class CrowdedObjectsMissed(Rule):
    """Objects that overlap others are missed where those that stand alone are found.

    ## What it does
    Reports a detector whose recall on objects that overlap another one, of any class, is a fraction of its recall on
    objects that touch none.

    ## Why is this bad?
    Scenes with many objects are counted short, and the mean over all objects hides it.

    ## How it is computed
    Recall = objects found at IoU 0.5 by any prediction / objects; crowded: an IoU of 0.3 or more with another object of
    the image, alone: 0. Reported when recall on the crowded is below the limit times the recall on the lone, with
    enough of both.

    ## Example
        crowded-objects-missed  recall is 0.31 on 120 objects that overlap another by 0.3 or more and 0.84 on 400
            others; the misses among them cost 0.06 of mAP50

    ## Fix
    Look at suppression first. Then a finer feature map, a larger input, more queries or detections an image, and more
    crowded scenes in training (mosaic or copy-paste augmentation).

    ## Known false positives
    None known; crowded objects are harder for every detector, the limit is far below what is normal.

    ## References
    Shao et al., CrowdHuman, 2018 (recall falls with overlap).
    """

    name = "crowded-objects-missed"
    code = "EVL027"
    category = Category.PERFORMANCE
    causes = ("suppression-removes-objects", *GAP_CAUSES)
    Options = RecallGapOptions

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge recall by crowding."""
        yield from recall_gap(
            scores,
            pl.col("crowding") >= 0.3,
            pl.col("neighbours") == 0,
            "that overlap another by 0.3 or more",
            "check suppression, then resolution and augmentation",
            ("crowding", "IoU 0.3 and more"),
            self.options,
        )
