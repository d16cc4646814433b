"""See SwappedClass."""

from collections.abc import Iterator

from pydantic import Field

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.data._records import box_place
from snellen.rules.joint._suspects import SCORE_FAULTS, able_detector, accused, believed, evidence


class SwappedClass(Rule):
    """A good detector gives a labelled object another class.

    ## What it does
    Points at labels whose object the model surely takes for another class, and hardly at all for the one labelled.

    ## Why is this bad?
    The label teaches the wrong class, and in evaluation the right answer counts twice against the model: as a false
    positive of one class and a miss of the other.

    ## How it is computed
    A prediction of another class whose nearest object it overlaps at an IoU of 0.5 or more, with a score of at least
    the mean score of the model's right predictions of that class (see `overlooked-object`), where no prediction of
    the label's class on the same object has more than half of that score.

    ## Example
        train.json:88  img7.jpg  swapped-class  labelled 'dog', and the model sees 'wolf' with 0.91 (its right ones:
            0.70 on the mean)

    ## Fix
    Look at the picture, and correct the class.

    ## Known false positives
    Classes that look alike, of which the model knows too few: one in 3,700 on the scenes of digits, whose labels are
    right by construction.

    ## References
    U. Tkachenko et al., "ObjectLab" (2023), arXiv:2309.00832; C. Northcutt et al., "Confident Learning", JAIR 2021.
    """

    name = "swapped-class"
    code = "LBL032"
    category = Category.STYLE
    causes = ("conflicting-box", "near-identical-class-names", "class-confusion", *SCORE_FAULTS)

    class Options(RuleOptions):
        """Whose word counts."""

        min_map50: float = Field(default=0.5, ge=0, le=1)
        """A weaker detector has no say about labels (judgement)."""
        min_share_right: float = Field(default=0.5, ge=0, le=1)
        """Share right, as labelled, of the predictions of the other class that are as sure (judgement)."""

    def check(self, data: DataFacts, scores: ScoreFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if not able_detector(scores, self.options.min_map50):
            return
        for suspect, box in accused(data, scores, "swapped"):
            if suspect["share_right"] < self.options.min_share_right:
                continue
            name = suspect["suggested"]
            yield Finding(
                message=f"labelled {box['class_name']!r}, and the model sees {name!r} {believed(suspect)}: if it is "
                "right, the label teaches the wrong class",
                place=box_place(box),
                evidence=evidence(suspect),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "take the model's class",
                    {"op": "set-class", "file": box["file"], "row": box["row"], "class_name": name},
                ),
                rank=suspect["score"] - suspect["label_score"],
            )
