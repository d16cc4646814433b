"""See AmbiguousErrorsDominate."""

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.evaluation._dominance import Dominance, DominanceOptions


class AmbiguousErrorsDominate(Dominance, Rule):
    """Most lost points are boxes that are both badly placed and wrongly named.

    ## What it does
    Reports a detector whose false positives mostly graze an object of another class.

    ## Why is this bad?
    Neither better boxes nor better names alone win these points: the network sees that something is there, and not what
    or where.

    ## How it is computed
    TIDE's cost: mAP50 with every error of type "both" (overlap of 0.1 to 0.5 with objects of other classes only)
    deleted, minus mAP50. Reported when it is large and at least half of the costs of all error types together.

    ## Example
        ambiguous-errors-dominate  310 predictions overlap an object of another class by less than 0.5; deleting only
            these wins 0.14 of mAP50

    ## Fix
    Train longer and with a larger input; check that boxes and class names were assigned to each other rightly when the
    labels were converted.

    ## Known false positives
    Scenes in which things of unlabelled classes stand close to labelled ones.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "ambiguous-errors-dominate"
    code = "EVL030"
    category = Category.PERFORMANCE
    causes = (
        "shifted-class-ids",
        "boxes-in-other-units",
        "swapped-box-format",
        "localisation-errors-dominate",
        *TRAINING_FAULTS,
    )
    Options = DominanceOptions
    kind = "both"

    def told(self, errors: pl.DataFrame, scores: ScoreFacts) -> str:
        """See Dominance."""
        return (
            f"{len(errors)} predictions overlap an object of another class by less than 0.5; deleting only these wins"
        )
