"""See ScalerSkips."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ScalerSkips(Rule):
    """The gradient scaler skips many updates.

    ## What it does
    Counts the steps the scaler skipped after it had time to find its scale.

    ## Why is this bad?
    Gradients overflow float16 again and again; the skipped batches are wasted.

    ## How it is computed
    Share of skipped steps after the first `calibration`, as the loop tells them or as the scale was lowered; fires
    above `share`. A scaler that doubles its scale every 2000 steps skips 0.05 %. Fires too where the optimizer never
    stepped and a scaler lowered its scale at its first step, as one does that is made anew for every batch.

    ## Example
        scaler-skips 38 of 130 updates were skipped (29 %, limit 5 %)

    ## Fix
    Use bfloat16, or find the layer whose output overflows; clip after scaler.unscale_.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of torch.amp.GradScaler.
    """

    name = "scaler-skips"
    code = "RUN029"
    category = Category.SUSPICIOUS
    causes = ("loss-not-finite", "lr-too-high")

    class Options(RuleOptions):
        """Options of this rule."""

        calibration: int = 20
        """First steps, in which the scaler may search."""
        share: float = 0.05
        """Share of skipped steps, in 0..1."""
        min_steps: int = 30
        """Steps after calibration before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.steps.slice(self.options.calibration)
        skipped = int(rows["skipped"].sum() or 0)
        lowered = event(run, "scaler-lowered")
        skipped = max(skipped, int(lowered["value"]) if lowered else 0)
        if rows.height >= self.options.min_steps and skipped > self.options.share * rows.height:
            yield Finding(
                message=(
                    f"the gradient scaler skipped {skipped} of {rows.height} updates ({skipped / rows.height:.0%}, "
                    f"limit {self.options.share:.0%}) after calibration; gradients overflow float16"
                ),
                affected=skipped,
                of=rows.height,
                fix=Fix(
                    FixSafety.SAFE,
                    "use bfloat16, or unscale before clipping; without mixed precision nothing overflows",
                    set_recipe(amp=False),
                ),
            )
            return
        idle, fell = event(run, "optimizer-never-stepped"), event(run, "scaler-fell")
        if idle and fell and run.steps.height >= self.options.min_steps:
            count = run.steps.height
            yield Finding(
                message=(
                    f"{count} of {count} updates were skipped (limit {self.options.share:.0%}): gradients overflow at "
                    f"the scale of {fell['value']:g} that the gradient scaler was made with, and it never comes down"
                ),
                evidence={"scale": fell["value"]},
                affected=count,
                of=count,
                fix=Fix(
                    FixSafety.UNSAFE,
                    "make one scaler before the loop, with its default scale, and call update() on it after each step",
                ),
            )
