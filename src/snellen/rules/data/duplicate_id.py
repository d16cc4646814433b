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
    pycocotools keeps the last record of an id and forgets the others; MMDetection asserts; a merge of two exports
    with ids from 1 loses half its labels.

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
        yield from problem_findings(data, "duplicate-id", "tools that index by id keep one of them in silence")
