"""See AnnotationIdZero."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import box_place


class AnnotationIdZero(Rule):
    """An annotation numbered 0, which pycocotools cannot match.

    ## What it does
    Reports COCO annotations with the id 0.

    ## Why is this bad?
    pycocotools writes the id of the matched object into an array of zeros, and takes 0 for no match: the object counts
    as missed and its detection as false. A perfect model scored 0.63 on such a file.

    ## How it is computed
    `id` is 0. One finding for each file.

    ## Example
        val.json  annotation-id-zero  an annotation has the id 0 ...

    ## Fix
    Number annotations from 1.

    ## Known false positives
    Files that are only trained on.

    ## References
    cocodataset/cocoapi#672; COCOeval.evaluateImg: `dtm[tind,dind] = gt[m]['id']`.
    """

    name = "annotation-id-zero"
    code = "LBL021"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.format != "coco":
            return
        for box in data.boxes.filter(pl.col("annotation_id") == "0").iter_rows(named=True):
            yield Finding(
                message="the annotation has the id 0, which pycocotools takes for no match: the object counts as "
                "missed however "
                "well it is found",
                place=box_place(box),
                evidence={"id": 0},
                fix=Fix(
                    FixSafety.SAFE,
                    "number the annotation anew",
                    {"op": "set-annotation-id", "file": box["file"], "row": box["row"]},
                ),
            )
