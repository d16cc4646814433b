"""See GapsInClassIds."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.findings.words import plural


class GapsInClassIds(Rule):
    """Class ids that do not count from 0 or 1 without gaps.

    ## What it does
    Reports class lists whose ids have gaps, as COCO's own 1 to 90 for 80 classes.

    ## Why is this bad?
    Trainers that take the id for an index need a head of 91 outputs, or train class 13 in the place of class 12. nnU-
    Net refuses such a list.

    ## How it is computed
    The declared ids, sorted, are not 0..K-1 or 1..K.

    ## Example
        gaps-in-class-ids  80 classes have ids up to 90 ...

    ## Fix
    Map the ids to 0..K-1 when loading; `snellen convert` does.

    ## Known false positives
    COCO itself, with loaders that know it.

    ## References
    torchvision's references keep the gaps; Detectron2 maps them.
    """

    name = "gaps-in-class-ids"
    code = "LBL022"
    category = Category.PEDANTIC

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        declared = data.classes.filter("declared")
        ids = sorted(declared["class_id"].drop_nulls())
        if ids and ids not in (list(range(len(ids))), list(range(1, len(ids) + 1))):
            yield Finding(
                message=f"{plural(len(ids), 'class has', 'classes have')} ids from {ids[0]} to {ids[-1]} with gaps: a "
                "loader that "
                "takes the id for an index trains outputs that stand for nothing",
                evidence={"ids": ids[:100]},
            )
