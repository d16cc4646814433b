"""See MalformedLabel."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import problem_findings


class MalformedLabel(Rule):
    """A label record that lacks a part or has one of the wrong type.

    ## What it does
    Reports records without class, without four numbers, or with a wrong column count, and class lists that
    contradict themselves.

    ## Why is this bad?
    Ultralytics drops the whole image for one bad row, with its good boxes, and trains on; other readers stop at it,
    far from where it was written.

    ## How it is computed
    Each reader checks the fields its format prescribes; the record, not the file, is left out.

    ## Example
        labels/0007.txt:4  malformed-label  0007.txt:4 is neither `class cx cy w h` nor a polygon: 4 columns ...

    ## Fix
    Correct the record or delete it.

    ## Known false positives
    Keypoint rows of YOLO pose files, which are not boxes.

    ## References
    ultralytics/ultralytics#19553, #20138.
    """

    name = "malformed-label"
    code = "LBL002"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""

        def fix(problem: Mapping[str, Any]) -> Fix | None:
            # Without an image it is no object's row but an entry of another list, or the file as a whole.
            if problem["row"] is None or problem["image"] is None:
                return None
            edit = {"op": "drop-box", "file": problem["file"], "row": problem["row"]}
            return Fix(FixSafety.UNSAFE, "drop the record", edit)

        yield from problem_findings(data, "malformed-label", "the record was left out", fix)
