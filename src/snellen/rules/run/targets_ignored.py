"""See TargetsIgnored."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import class_counts, form, masks, one_answer_each
from snellen.watching.facts import RunFacts


class TargetsIgnored(Rule):
    """The loss leaves out the targets it should learn from.

    ## What it does
    Counts targets that are an id of some class and those that are not, and recognises which id the loss leaves out.

    ## Why is this bad?
    The mean over no target is NaN, the sum 0; a class that is left out is never learned.

    ## How it is computed
    Fires when at least `targets` targets were seen and none of them is an id of a class; when the loss was always 0 or
    NaN and at least `share` of the targets were no such id; or when the loss was recognised as one that ignores a class
    that has an output, and that class was seen: at all, where each sample has one target, or in at least `most` of the
    pixels, where the targets are masks. (Of tokens nothing is said: there it is the filler.) Of masks also when at
    least `most` of the pixels have no output and the last class alone is never met: ids from which 1 was taken.

    ## Example
        targets-ignored all 3200 targets are ids that the loss ignores; it is NaN

    ## Fix
    Look at the ids that reach the loss, and at `ignore_index`.

    ## Known false positives
    A class that is left out of the loss on purpose.

    ## References
    unsloth issue 712: every label was masked and the loss fell to 0.
    """

    name = "targets-ignored"
    code = "RUN049"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        targets: int = 30
        """Targets seen before anything is said."""
        share: float = 0.99
        """Share of ignored targets, 0..1, beside a loss that is always 0 or NaN; sparse labels have up to 0.97."""
        most: float = 0.5
        """Share of the pixels of a mask; the margin that is left out on purpose is less."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, about = self.options, run.loss_form
        counts, outside = class_counts(run)
        total = sum(counts) + outside
        share = outside / total if total else float(about.get("ignored_share", 0.0))
        empty = about.get("name") in ("zero", "nan") and about.get("classes")
        ignored = form(run).get("ignored")
        if (total >= o.targets and outside == total) or (empty and share >= o.share):
            what = f"all {total}" if outside == total else f"{share:.1%} of the"
            message = (
                f"{what} targets are ids of no output (limit {o.share:.0%}): the loss ignores them and nothing is left "
                "to learn from"
            )
        elif (
            ignored is not None
            and ignored < len(counts)
            and counts[ignored] >= o.targets
            and (one_answer_each(run) or (masks(run) and counts[ignored] >= o.most * total))
        ):
            message = (
                f"the loss leaves out class {ignored}, to which {counts[ignored]} of {total} targets belong (limit "
                f"{o.targets}): it is never learned"
            )
        elif masks(run) and len(counts) > 2 and not counts[-1] and min(counts[:-1]) >= o.targets and share >= o.most:
            message = (
                f"{share:.0%} of the pixels are ids of no output (limit {o.most:.0%}) and class {len(counts) - 1}, the "
                "last, is none of the others: ids are one too low and the first class is ignored"
            )
        else:
            return
        yield Finding(
            message=message,
            place=Place(layer="target"),
            evidence={"targets": total, "outside": outside, "ignored": ignored, "loss": about.get("name")},
            fix=Fix(FixSafety.UNSAFE, "set ignore_index to an id that only filler has, and check the labels"),
        )
