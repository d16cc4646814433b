"""See ScalerBypassed."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.run._calls import sequences
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ScalerBypassed(Rule):
    """The loss is scaled for mixed precision and the gradients are never scaled back.

    ## What it does
    Looks whether a gradient scaler that scales the loss also takes the steps.

    ## Why is this bad?
    The optimizer meets gradients that are thousands of times too large, 65536 times at the start, and no overflow is
    skipped.

    ## How it is computed
    A scaler is enabled, has scaled a loss by more than 1, and in no order of calls between two steps are gradients
    unscaled, which `scaler.step(optimizer)` does by itself. Optimizers that unscale on their own (fused ones) are left
    out.

    ## Example
        scaler-bypassed the loss is scaled by 65536 and no gradient was unscaled in 132 steps

    ## Fix
    `scaler.step(optimizer); scaler.update()` in place of `optimizer.step()`.

    ## Known false positives
    Gradients that are divided by the scale by hand.

    ## References
    PyTorch documentation of torch.amp, "Typical Mixed Precision Training".
    """

    name = "scaler-bypassed"
    code = "RUN192"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found, seen = event(run, "scaler-used"), list(sequences(run))
        if not found or not seen or any("unscale" in s.calls for s in seen):
            return
        yield Finding(
            message=(
                f"the loss is scaled by {found['value']:g} and in {run.steps.height} steps no gradient was unscaled "
                "(limit 1): optimizer.step() is called in place of scaler.step(optimizer)"
            ),
            evidence={"scale": found["value"], "chain": [f"{s.steps} times: {', '.join(s.calls)}" for s in seen[:3]]},
            fix=Fix(FixSafety.UNSAFE, "call scaler.step(optimizer) and scaler.update() in place of optimizer.step()"),
        )
