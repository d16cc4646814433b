"""See MislabelledImage."""

from collections.abc import Iterator

from pydantic import Field

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.joint._suspects import SCORE_FAULTS, accused, believed, evidence


class MislabelledImage(Rule):
    """A good classifier is sure of another class than the image's label.

    ## What it does
    Points at each image whose label confident learning takes for wrong, the surest first.

    ## Why is this bad?
    Wrong labels in training are learned; those in validation set a ceiling that no model can pass.

    ## How it is computed
    The image stands off the diagonal of the confident joint: another class's probability reaches that class's mean
    over the images labelled so, and it is the most probable of those that do (Northcutt et al., eq. 1 and 2). The
    margin, its probability less the label's, must reach `min_margin`. Images that the model was trained on are measured
    by their own means, and by those of the others where they are higher: a network repeats the labels it memorised.

    ## Example
        3/IMG_5108.JPG  mislabelled-image  labelled '3', and the model sees '7' with 0.98 (its right ones: 0.93 on the
            mean), in an image it was trained on

    ## Fix
    Look at the picture, and correct the label.

    ## Known false positives
    Images that a person finds hard too, and a network trained long past its best epoch, which is sure of its own
    errors: hence a note. Of a small ResNet's two on the sign digits both were labelled wrongly; a linear classifier
    of 96 % accuracy accuses 4 of 1,797 digits, all wrongly.

    ## References
    C. Northcutt et al., "Confident Learning", JAIR 2021.
    """

    name = "mislabelled-image"
    code = "LBL033"
    category = Category.STYLE
    causes = ("duplicate-image-with-different-labels", "near-identical-class-names", "class-confusion", *SCORE_FAULTS)

    class Options(RuleOptions):
        """Whose word counts, and how clear it must be."""

        min_accuracy: float = Field(default=0.85, ge=0, le=1)
        """A weaker classifier is as often wrong itself where it is sure: with 0.84 on the sign digits, a third."""
        min_margin: float = Field(default=0.7, ge=0, le=1)
        """Probability of the class suggested less that of the label (calibrated on digits of which one in twenty is
        relabelled: a small ResNet finds 20 of 24 held out, and accuses one right label)."""

    def check(self, data: DataFacts, scores: ScoreFacts) -> Iterator[Finding]:
        """Yield the findings."""
        o = self.options
        if scores.task != "classification" or (scores.score("accuracy") or 0.0) < o.min_accuracy:
            return
        for suspect, image in accused(data, scores, "mislabelled"):
            margin = suspect["score"] - suspect["label_score"]
            if margin < o.min_margin:
                continue
            name = suspect["suggested"]
            yield Finding(
                message=f"labelled {suspect['label']!r}, and the model sees {name!r} {believed(suspect)}: if it is "
                "right, the label teaches the wrong class",
                place=Place(file=image["label_file"], image=suspect["image"], class_name=suspect["label"]),
                evidence=evidence(suspect),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "take the model's class",
                    {"op": "set-class", "image": suspect["image"], "class_name": name},
                ),
                rank=margin,
            )
