"""See ClassMissingInSplit."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule
from snellen.findings.words import listed, plural
from snellen.rules.data._records import class_usage


class ClassMissingInSplit(Rule):
    """A class that validation asks for and training never shows.

    ## What it does
    Reports classes with examples in val or test and none in train.

    ## Why is this bad?
    The network cannot learn them: their AP is 0 and drags the mean down, whatever the training does.

    ## How it is computed
    Classes in use per split, set difference with train; one finding for each split.

    ## Example
        class-missing-in-split  2 classes of val are not in train: kite, toaster ...

    ## Fix
    Draw the splits anew, stratified by class, or leave the class out.

    ## Known false positives
    Open-set benchmarks, which ask for unknown classes on purpose.

    ## References
    deepchecks, "New label" check.
    """

    name = "class-missing-in-split"
    code = "SPL005"
    category = Category.SUSPICIOUS
    causes = ("missing-split-target",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        usage = class_usage(data)
        shown = {c for (split, c) in usage if split == "train"}
        for split in ("val", "test"):
            absent = sorted({c for (s, c) in usage if s == split} - shown)
            if shown and absent:
                one = len(absent) == 1
                yield Finding(
                    message=f"{plural(len(absent), f'class of {split} is', f'classes of {split} are')} not in train: "
                    f"{listed(absent)}; {'it scores' if one else 'they score'} 0, for what is not shown is not learnt",
                    place=Place(split=split, class_name=absent[0] if len(absent) == 1 else None),
                    evidence={"classes": absent},
                    affected=len(absent),
                    of=data.classes.height,
                )
