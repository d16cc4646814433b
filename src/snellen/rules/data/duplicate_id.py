"""See DuplicateId."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class DuplicateId(Rule):
    """An id that must be unique and is not.

    ## What it does
    Reports image, annotation and category ids, or annotation files, that appear twice for one thing.

    ## Why is this bad?
    Tools that look records up by id, as pycocotools does, keep one of them and forget the others; MMDetection stops
    at an assertion. A merge of two exports that both count from 1 loses labels so.

    ## How it is computed
    Ids are compared within one file; category names also between the files of one dataset.

    ## Example
        train.json:88  duplicate-id  annotation id 87 appears again ...

    ## Fix
    Number the records anew.

    ## Known false positives
    None known.

    ## References
    open-mmlab/mmdetection#4789.
    """

    name = "duplicate-id"
    code = "LBL007"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(
            data, "duplicate-id", "tools that look records up by id keep one of them in silence"
        )
