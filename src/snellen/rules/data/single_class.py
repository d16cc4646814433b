"""See SingleClass."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule
from snellen.findings.words import plural


class SingleClass(Rule):
    """A classification dataset of one class.

    ## What it does
    Reports datasets for classification in which all images bear one label.

    ## Why is this bad?
    There is nothing to tell apart: the loss falls to 0 in a few steps, accuracy is 1, and nothing was learnt.

    ## How it is computed
    Fewer than two classes have an image.

    ## Example
        single-class  all 400 images are 'cat' ...

    ## Fix
    Add images of what is not of the class, as a class of its own.

    ## Known false positives
    One-class (anomaly) detection, which trains otherwise.

    ## References
    datumaro: SingleClass.
    """

    name = "single-class"
    code = "DST010"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.task != "classification":
            return
        used = sorted(data.images["class_name"].drop_nulls().unique())
        if len(used) == 1:
            yield Finding(
                message=f"all {plural(data.images['class_name'].count(), 'labelled image')} are {used[0]!r}: with "
                "nothing to tell "
                "apart the loss falls to 0 and nothing is learnt",
                place=Place(class_name=used[0]),
                affected=data.images.height,
                of=data.images.height,
            )
