"""See UnusedClass."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.findings.words import listed, plural
from snellen.rules.data._records import examples


class UnusedClass(Rule):
    """A declared class without a single example.

    ## What it does
    Reports classes of the dataset's list that no label uses.

    ## Why is this bad?
    The head carries an output that is only ever told "no"; a mean over classes that counts it as 0 is too low, one
    that skips it is incomparable with others.

    ## How it is computed
    Declared classes minus classes with at least one label, a mask's as far as its pixels were measured; one finding
    for the dataset.

    ## Example
        unused-class  9 of 80 declared classes have no example: toaster, ...

    ## Fix
    Collect examples, or remove the class from the list.

    ## Known false positives
    A sample of a larger set, which keeps its class list.

    ## References
    datumaro, LabelDefinedButNotFound.
    """

    name = "unused-class"
    code = "DST003"
    category = Category.STYLE

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.task == "segmentation" and data.tier < Tier.PIXELS:
            return
        names = data.boxes if data.boxes.height else examples(data)
        used = set(names["class_name"].drop_nulls())
        unused = [n for n in data.classes.filter("declared")["class_name"] if n not in used]
        if unused:
            one = len(unused) == 1
            yield Finding(
                message=f"{len(unused)} of {plural(data.classes.height, 'declared class', 'declared classes')} "
                f"{'has' if one else 'have'} no example: {listed(unused)}; "
                f"{'its output learns' if one else 'their outputs learn'} only to say no",
                place=Place(class_name=unused[0] if len(unused) == 1 else None),
                evidence={"classes": unused},
                affected=len(unused),
                of=data.classes.height,
            )
