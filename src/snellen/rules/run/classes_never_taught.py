"""See ClassesNeverTaught."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class ClassesNeverTaught(Rule):
    """The head has several classes and all objects are of one.

    ## What it does
    Compares the number of different class ids of the targets with that of the head, and looks at the class names.

    ## Why is this bad?
    Class names that were one text instead of a list are taken letter by letter, and ids that the reader does not find
    become 0: the detector cannot tell classes apart.

    ## How it is computed
    Fires when class names are single letters, or when at least `objects` training objects all bear one id and the
    head has `classes` classes or more, background not counted.

    ## Example
        classes-never-taught 3462 objects bear id 0 and the head has 6 classes

    ## Fix
    Write `('person',)` with the comma, or a list; check the table of ids.

    ## Known false positives
    A pretrained head of many classes that is trained on one.

    ## References
    mmdetection's FAQ on `classes=('person')`.
    """

    name = "classes-never-taught"
    code = "RUN149"
    category = Category.SUSPICIOUS
    causes = (
        "target-classes-shifted",
        "no-positive-targets",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        objects: int = 200
        """Objects seen."""
        classes: int = 3
        """Classes of the head, background not counted."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, head, kinds = self.options, measure(run, "head-classes"), measure(run, "label-kinds", "training")
        letters = measure(run, "names-are-letters")
        if letters and letters["value"]:
            what = f"the {letters['of']:.0f} class names are the letters of {letters['detail']!r}"
        elif head and kinds and kinds["value"] == 1 and kinds["of"] >= o.objects:
            if head["value"] - head["of"] < o.classes:
                return
            what = (
                f"{kinds['of']:.0f} objects (limit {o.objects}) bear one class id and the head ({head['detail']}) has "
                f"{head['value'] - head['of']:.0f} classes"
            )
        else:
            return
        yield Finding(
            message=f"{what}: ids or names of the classes were not read as they were meant",
            place=Place(layer="target"),
            evidence={"chain": [what]},
            fix=Fix(FixSafety.UNSAFE, "give class names as a list and check the table of ids"),
        )
