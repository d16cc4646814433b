"""See LabelSmoothingTooStrong."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._loss import form
from snellen.watching.facts import RunFacts


class LabelSmoothingTooStrong(Rule):
    """Label smoothing leaves hardly anything of the label.

    ## What it does
    Solves for the label smoothing that explains the losses.

    ## Why is this bad?
    Targets are nearly the same for every class: the loss cannot fall below their entropy, and gradients that tell
    classes apart shrink by the same factor.

    ## How it is computed
    Loss = (1 - s) cross-entropy + s cross-entropy against the uniform distribution; s is solved from each batch and
    believed when all agree. Fires when s is at least `limit`.

    ## Example
        label-smoothing-too-strong labels are smoothed by 0.9 (limit 0.5); the loss cannot fall below 2.17

    ## Fix
    label_smoothing=0.1.

    ## Known false positives
    None known; published recipes use up to 0.3.

    ## References
    Szegedy et al. 2016, section 7 (0.1); Mueller et al. 2019, When does label smoothing help?
    """

    name = "label-smoothing-too-strong"
    code = "RUN047"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 0.5
        """Share of the target spread over all classes, 0..1; recipes use 0.1, at most 0.3."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        share, classes = known.get("smoothing", 0.0), known.get("classes") or 0
        if share < self.options.limit or classes < 2:
            return
        rest = min(share, 1.0) / classes
        top = 1 - share + rest
        floor = -top * math.log(top) - (classes - 1) * rest * math.log(rest)
        yield Finding(
            message=(
                f"labels are smoothed by {share:.2g} (limit {self.options.limit:g}): the loss cannot fall below "
                f"{floor:.3g} of the {math.log(classes):.3g} of a blind guess, and classes are hardly told apart"
            ),
            place=Place(layer="loss"),
            evidence={"smoothing": share, "floor": floor, "classes": classes},
            fix=Fix(FixSafety.UNSAFE, "label_smoothing=0.1", set_recipe(label_smoothing=0.1)),
        )
