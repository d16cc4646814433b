"""See UnknownImageId."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import problem_findings


class UnknownImageId(Rule):
    """An annotation of an image that is not listed.

    ## What it does
    Reports annotations whose image id no image has.

    ## Why is this bad?
    Loaders go from image to annotations and never meet it; the image, if it is listed under another id, trains as
    background.

    ## How it is computed
    The image_id of an annotation is looked up among the images of the same file.

    ## Example
        train.json:88  unknown-image-id  annotation 88 belongs to image id 999, which is not listed ...

    ## Fix
    Correct the id, or list the image.

    ## Known false positives
    None known.

    ## References
    COCO, "Data format".
    """

    name = "unknown-image-id"
    code = "LBL011"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""

        def fix(problem: Mapping[str, Any]) -> Fix:
            edit = {"op": "drop-box", "file": problem["file"], "row": problem["row"]}
            return Fix(FixSafety.UNSAFE, "drop the annotation", edit)

        yield from problem_findings(data, "unknown-image-id", "its label is never used", fix)
