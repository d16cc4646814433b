"""See LocalisationErrorsDominate."""

import numpy as np
import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.evaluation._dominance import Dominance, DominanceOptions


class LocalisationErrorsDominate(Dominance, Rule):
    """Objects are seen and named, and the boxes sit badly.

    ## What it does
    Reports a detector whose lost points are mostly boxes that overlap their object by less than 0.5.

    ## Why is this bad?
    The classifier is not the problem: better boxes alone would win the points in the message.

    ## How it is computed
    TIDE's cost: mAP50 with every localisation error (overlap 0.1 to 0.5 with an object of its class) mended, minus
    mAP50. Reported when it is large and at least half of the costs of all error types together.

    ## Example
        localisation-errors-dominate  160 boxes overlap their object by less than 0.5; mending them wins 0.31 of mAP50

    ## Fix
    Compare anchor sizes with the objects, give the box loss more weight or use an IoU loss, enlarge the input, train
    longer. Check that boxes are scaled with the image.

    ## Known false positives
    Objects without a clear outline, whose labels differ as much as the predictions.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "localisation-errors-dominate"
    code = "EVL012"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", *TRAINING_FAULTS)
    Options = DominanceOptions
    kind = "localisation"

    def told(self, errors: pl.DataFrame, scores: ScoreFacts) -> str:
        """See Dominance."""
        middle = float(np.median(errors["iou"].to_numpy()))
        return (
            f"{len(errors)} predictions overlap their object by less than 0.5 (median {middle:.2f}); mending only "
            "these wins"
        )
