"""See MisplacedBox."""

from collections.abc import Iterator

from pydantic import Field

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.data._records import box_place
from snellen.rules.joint._suspects import SCORE_FAULTS, able_detector, accused, believed, box_of, evidence


class MisplacedBox(Rule):
    """A good detector sees the labelled object beside its box.

    ## What it does
    Points at labels that a sure prediction of their class overlaps only partly, while no other prediction fits them.

    ## Why is this bad?
    The box teaches a wrong place and size, and in evaluation the right box counts twice against the model: as a false
    positive and as a miss.

    ## How it is computed
    A predicted box whose nearest object is of its class, at an IoU of 0.1 to 0.5, with a score of at least the mean
    score of the model's right predictions of that class (see `overlooked-object`), where no prediction of the class
    with more than a quarter of that score fits the label better.

    ## Example
        train.json:88  img7.jpg  misplaced-box  the model sees this 'dog' elsewhere, IoU 0.31 with the label, with
            0.87 (its right ones: 0.66 on the mean)

    ## Fix
    Look at the picture, and draw the box anew.

    ## Known false positives
    Objects that touch, which the model takes for one: of three in BCCD one was a box beside its cell.

    ## References
    U. Tkachenko et al., "ObjectLab" (2023), arXiv:2309.00832.
    """

    name = "misplaced-box"
    code = "LBL031"
    category = Category.STYLE
    causes = ("outline-box-mismatch", "exif-rotated-image", *SCORE_FAULTS)

    class Options(RuleOptions):
        """Whose word counts."""

        min_map50: float = Field(default=0.5, ge=0, le=1)
        """A weaker detector has no say about labels (judgement)."""
        min_share_right: float = Field(default=0.5, ge=0, le=1)
        """Share right, as labelled, of the predictions of that class that are as sure (judgement)."""

    def check(self, data: DataFacts, scores: ScoreFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if not able_detector(scores, self.options.min_map50):
            return
        outlined = set(data.outlines.select("file", "row").iter_rows())
        for suspect, box in accused(data, scores, "misplaced"):
            if suspect["share_right"] < self.options.min_share_right:
                continue
            edit = {"op": "set-box", "file": box["file"], "row": box["row"], "box_xyxy": box_of(suspect)}
            # A box moved away from its outline would only be wrong in another way.
            edit = {} if (box["file"], box["row"]) in outlined else edit
            yield Finding(
                message=f"the model sees this {box['class_name']!r} elsewhere, at IoU {suspect['iou']:.2f} with the "
                f"label, {believed(suspect)}: the box teaches a wrong place",
                place=box_place(box),
                evidence=evidence(suspect),
                fix=Fix(FixSafety.UNSAFE, "take the model's box", edit),
                rank=suspect["score"],
            )
