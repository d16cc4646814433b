"""See OverlookedObject."""

from collections.abc import Iterator

from pydantic import Field

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.joint._suspects import SCORE_FAULTS, able_detector, accused, believed, box_of, evidence


class OverlookedObject(Rule):
    """A good detector is sure of an object where nothing is labelled.

    ## What it does
    Points at each place where the model sees an object as surely as it sees labelled ones, and the labels have none.

    ## Why is this bad?
    In training, an object without a label teaches that such objects are background, and all that look like it are
    found less surely. In evaluation it makes a right prediction a false positive.

    ## How it is computed
    A predicted box that overlaps no object of any class (IoU below 0.1, and no label covers half of it), with a score
    of at least the mean score of the model's right predictions of that class. Predictions on images that the model was
    trained on are measured by their own mean, and by that of the others where it is higher. The detector must reach
    `min_map50`, and `min_share_right` of the predictions of the class that are as sure must be right.

    ## Example
        train.json  img7.jpg  overlooked-object  nothing is labelled where the model sees 'cell' with 0.82 (its right
            ones: 0.61 on the mean), in an image it never saw

    ## Fix
    Look at the picture, and label what is there.

    ## Known false positives
    Things that look like the objects (posters, reflections), and two objects taken for one: hence a note. Of 30 looked
    at in BCCD, where 268 are reported beside 4,886 labels, 28 were cells without a label.

    ## References
    U. Tkachenko et al., "ObjectLab" (2023), arXiv:2309.00832; C. Northcutt et al., "Confident Learning", JAIR 2021.
    """

    name = "overlooked-object"
    code = "LBL030"
    category = Category.STYLE
    causes = SCORE_FAULTS

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
        for suspect, image in accused(data, scores, "overlooked"):
            if suspect["share_right"] < self.options.min_share_right:
                continue
            box, name = box_of(suspect), suspect["suggested"]
            where = {"file": image["label_file"], "image": suspect["image"]}
            yield Finding(
                message=f"nothing is labelled where the model sees {name!r} {believed(suspect)}: if one is there, "
                "training teaches that such are background",
                place=Place(**where, box=(box[0], box[1], box[2], box[3]), class_name=name),
                evidence=evidence(suspect),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "label the object",
                    {"op": "add-box", **where, "class_name": name, "box_xyxy": box},
                ),
                rank=suspect["score"],
            )
