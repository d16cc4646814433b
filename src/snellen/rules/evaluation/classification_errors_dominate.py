"""See ClassificationErrorsDominate."""

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.evaluation._dominance import Dominance, DominanceOptions


class ClassificationErrorsDominate(Dominance, Rule):
    """Objects are found and boxed well, and given the wrong name.

    ## What it does
    Reports a detector whose lost points are mostly boxes that fit an object of another class.

    ## Why is this bad?
    The boxes are not the problem: the right names alone would win the points in the message.

    ## How it is computed
    TIDE's cost: mAP50 with every classification error (overlap of at least 0.5 with an object of another class, and of
    less than 0.1 with any of its own) mended, minus mAP50. Reported when it is large and at least half of the costs of
    all error types together.

    ## Example
        classification-errors-dominate  240 predictions fit an object of another class; naming them rightly wins 0.21 of
            mAP50

    ## Fix
    Look at the confusion matrix. Merge or relabel classes that cannot be told apart, add examples of the confused
    ones, give the class loss more weight, or use a larger input.

    ## Known false positives
    Classes that are a coarse and a fine name of the same thing.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "classification-errors-dominate"
    code = "EVL029"
    category = Category.PERFORMANCE
    causes = ("shifted-class-ids", "class-confusion", "class-never-predicted", *TRAINING_FAULTS)
    Options = DominanceOptions
    kind = "classification"

    def told(self, errors: pl.DataFrame, scores: ScoreFacts) -> str:
        """See Dominance."""
        return f"{len(errors)} predictions fit an object of another class; naming only these rightly wins"
