"""See LabelsStartAtOne."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import class_counts, form, masks, one_answer_each
from snellen.watching.facts import RunFacts


class LabelsStartAtOne(Rule):
    """Class 0 never occurs: labels are counted from 1, or one class is missing.

    ## What it does
    Counts how often each output of a classifier is the target.

    ## Why is this bad?
    Every class is learned by the output of its neighbour: names and scores of what is predicted are off by one, and
    the last class is lost where the head has one output per class.

    ## How it is computed
    For a recognised loss of classification with one target per sample, or with masks in which every class but 0 occurs.
    Fires when class 0 never was a target and at
    least two others were, each of those that were at least `seen` times; or when `seen` targets or more are ids of C
    and above that the loss ignored.

    ## Example
        labels-start-at-one class 0 is none of 4800 targets and classes 1 to 10 all are; labels are off by one

    ## Fix
    Subtract 1 from the labels, or map the ids that occur to 0..C-1.

    ## Known false positives
    A class 0 kept for what is unknown, of which there is none.

    ## References
    mmdetection issue 1924 on num_classes; PyTorch documentation of CrossEntropyLoss: class indices in [0, C).
    """

    name = "labels-start-at-one"
    code = "RUN051"
    category = Category.CORRECTNESS
    causes = ("one-class-targets", "class-pure-batches")

    class Options(RuleOptions):
        """Options of this rule."""

        seen: int = 20
        """Fewest targets of a seen class; where one has less, class 0 may be missing by chance."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if known.get("name") not in ("cross-entropy", "focal", "nll", "multi-margin"):
            return
        counts, outside = class_counts(run)
        seen = [i for i, n in enumerate(counts) if n]
        every = len(counts) > 2 and len(seen) == len(counts) - 1 and known["ignored"] != 0 and masks(run)
        if not (one_answer_each(run) or every):
            return
        if len(seen) < 2 or min(counts[i] for i in seen) < self.options.seen or counts[0]:
            return
        whole = seen[-1] - seen[0] + 1 == len(seen)
        which = f"classes {seen[0]} to {seen[-1]} all are" if whole else f"{len(seen)} other classes are"
        beyond = f", and {outside} ids are {len(counts)} or above" if outside else ""
        yield Finding(
            message=(
                f"class 0 is none of {sum(counts)} targets while {which} (limit {self.options.seen} of each){beyond}: "
                f"labels are off by {seen[0]} or class 0 is missing"
            ),
            place=Place(layer="target"),
            evidence={"outputs": len(counts), "seen": seen[:64], "outside": outside},
            fix=Fix(FixSafety.UNSAFE, f"targets - {seen[0]}"),
        )
