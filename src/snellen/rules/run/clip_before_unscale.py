"""See ClipBeforeUnscale."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import sequences
from snellen.watching.facts import RunFacts


class ClipBeforeUnscale(Rule):
    """Gradients are clipped while they still carry the scale of mixed precision.

    ## What it does
    Reads the order of clip and `scaler.unscale_` in each step.

    ## Why is this bad?
    The scale is 2^16 at the start: a clip at 1.0 leaves 1/65536 of it after unscaling, and the weights hardly
    move.

    ## How it is computed
    Fires when in at least `share` of the steps gradients were written to after backward and before `unscale_`,
    which `scaler.step` calls itself when the loop does not.

    ## Example
        clip-before-unscale in 150 of 150 steps gradients were clipped before scaler.unscale_

    ## Fix
    Call `scaler.unscale_(optimizer)` before `clip_grad_norm_`.

    ## Known false positives
    A loop that adds noise to or averages the gradients between backward and unscale.

    ## References
    PyTorch documentation, Automatic Mixed Precision examples, gradient clipping.
    """

    name = "clip-before-unscale"
    code = "RUN090"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.2
        """Share of the steps in this order, in 0..1; a clip that does not bite leaves no trace."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        total = wrong = 0
        for s in sequences(run):
            total += s.steps
            wrong += s.steps if s.before("clip", "unscale") else 0
        if total >= self.options.min_steps and wrong >= self.options.share * total:
            yield Finding(
                message=(
                    f"in {wrong} of {total} steps (limit {self.options.share:.0%}) gradients were clipped before "
                    "scaler.unscale_(), so the limit was applied to scaled gradients; hardly anything is left "
                    "after unscaling"
                ),
                evidence={"chain": ["backward", "clip", "unscale_", "step"]},
                affected=wrong,
                of=total,
                fix=Fix(FixSafety.SAFE, "call scaler.unscale_(optimizer) before clipping"),
            )
