"""See UnusedOutputs."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import class_counts, form, one_answer_each
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class UnusedOutputs(Rule):
    """The head has outputs that never are a target.

    ## What it does
    Counts how often each output of a classifier is the target.

    ## Why is this bad?
    The head was made for another set of classes: it can answer what does not exist, and ids that leave gaps hint at
    labels that were not mapped to 0..C-1.

    ## How it is computed
    For a recognised cross-entropy with one target per sample. Fires when class 0 was a target, outputs were not, every
    class that was seen was seen at least `seen` times, there were at least `targets` targets per seen class, and
    the head has at least `outputs` outputs. Labels that start at 1 are another rule's, and one process of several is
    not judged: the others may see the other classes.

    ## Example
        unused-outputs the head has 1000 outputs and only 10 of them, 0 to 9, ever are targets (4800 targets)

    ## Fix
    nn.Linear(..., number of classes); map labels to 0..C-1.

    ## Known false positives
    A head kept large for classes still to come.

    ## References
    detectron2 and mmdetection issues on num_classes; yolor issue 243.
    """

    name = "unused-outputs"
    code = "RUN050"
    category = Category.SUSPICIOUS
    causes = (
        "one-class-targets",
        "head-class-count-mismatch",
        "class-pure-batches",
        "class-weights-off",
        "too-few-samples",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        outputs: int = 5
        """Outputs below which one to spare costs nothing: acts of which an expert takes some."""
        seen: int = 20
        """Fewest targets of a seen class; where one has less, a class may be missing by chance (e^-20 if as rare)."""
        targets: int = 30
        """Targets per seen class."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if event(run, "distributed"):
            return  # Other processes may see the other classes.
        if known.get("name") not in ("cross-entropy", "focal", "nll", "multi-margin") or not one_answer_each(run):
            return
        counts, _ = class_counts(run)
        seen = [i for i, n in enumerate(counts) if n]
        missing = len(counts) - len(seen)
        if not missing or len(seen) < 2 or not counts[0] or len(counts) < self.options.outputs:
            return
        total = sum(counts)
        if min(counts[i] for i in seen) < self.options.seen or total < self.options.targets * len(seen):
            return
        which = f"0 to {seen[-1]}" if len(seen) == seen[-1] + 1 else "with gaps between them"
        yield Finding(
            message=(
                f"the head has {len(counts)} outputs and only {len(seen)} of them, {which}, ever are targets ({total} "
                f"targets, limit {self.options.seen} of each): it was made for other classes"
            ),
            place=Place(layer="output"),
            evidence={"outputs": len(counts), "seen": seen[:64], "targets": total},
            affected=missing,
            of=len(counts),
            fix=Fix(FixSafety.UNSAFE, f"a head of {len(seen)} outputs, labels 0 to {len(seen) - 1}"),
        )
