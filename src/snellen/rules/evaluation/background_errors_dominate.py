"""See BackgroundErrorsDominate."""

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.evaluation._dominance import Dominance, DominanceOptions


class BackgroundErrorsDominate(Dominance, Rule):
    """Most lost points are boxes where there is nothing.

    ## What it does
    Reports a detector whose false positives on the background cost more than all other errors together.

    ## Why is this bad?
    The model has not learned what the objects are not, or the objects there were never labelled.

    ## How it is computed
    TIDE's cost: mAP50 with every background error (overlap at most 0.1 with any object) deleted, minus mAP50.
    Reported when it is large and at least half of the costs of all error types together.

    ## Example
        background-errors-dominate  900 boxes lie on no object; without them mAP50 is 0.24 higher

    ## Fix
    Look at the images in the evidence first: unlabelled objects are fixed in the labels. Else add images without
    objects, or mine hard negatives (focal loss, more negatives per positive).

    ## Known false positives
    Incompletely labelled data: the predictions are right and the labels wrong.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "background-errors-dominate"
    code = "EVL013"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", "likely-unlabelled-objects", *TRAINING_FAULTS)
    Options = DominanceOptions
    kind = "background"

    def told(self, errors: pl.DataFrame, scores: ScoreFacts) -> str:
        """See Dominance."""
        return f"{len(errors)} of {len(scores.predictions)} predictions lie on no object; deleting only these wins"
