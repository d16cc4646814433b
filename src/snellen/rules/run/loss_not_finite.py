"""See LossNotFinite."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules._causes import LOSS_FAULTS
from snellen.rules.run._series import event, losses
from snellen.watching.facts import RunFacts


class LossNotFinite(Rule):
    """The loss or a gradient became NaN or infinite.

    ## What it does
    Names the step and the place where the first NaN or infinity of the run appeared.

    ## Why is this bad?
    One non-finite gradient makes every weight NaN; all steps after it are lost.

    ## How it is computed
    Sums of the model's input and output, and the norm of every gradient, are kept on the device at each step and
    read together; the earliest that is not finite in the order input, output, loss, gradient is the place. Layers
    are told apart at sampled steps only; `snellen.watch` runs the step again on a copy of the model, operator by
    operator, and names the first that made NaN or infinity of finite values. `snellen replay RUN` does so later. A
    step that a gradient scaler skipped does not count.

    ## Example
        loss-not-finite step 41: outputs are finite and the loss is not; every weight is NaN from here on

    ## Fix
    Non-finite input: look at that image or its normalisation. In a layer or the loss: look for log(0), sqrt(0) or a
    division; under float16 use bfloat16. Otherwise lower the learning rate.

    ## Known false positives
    None known: a loop that catches such batches itself should report them with skipped=True.

    ## References
    torch.autograd.detect_anomaly finds the operator of a backward pass, at 1.4 to 1.6 times the cost.
    """

    name = "loss-not-finite"
    code = "RUN001"
    category = Category.CORRECTNESS
    causes = (
        "degenerate-target-boxes",
        *LOSS_FAULTS,
        "input-scale-off",
        "lr-too-high",
        "gradients-not-cleared",
        "initial-loss-off",
        "negative-loss",
        "non-finite-weights",
        "clip-after-step",
        "exploding-gradient",
    )

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        first = event(run, "non-finite")
        bad = ~np.isfinite(losses(run))
        if first is None and not bad.any():
            return
        step = int(first["step"]) if first else int(bad.argmax())
        what = first["message"] if first else "the loss is NaN or infinite"
        operator = event(run, "non-finite-operator")
        layer = first["layer"] if first else None
        yield Finding(
            message=(
                f"step {step}: {what}; {int(bad.sum())} of {len(bad)} recorded losses are not finite and "
                "the weights are lost from here"
            ),
            place=Place(step=step, layer=layer if layer not in ("input", "loss") else None),
            evidence={
                "step": step,
                "layer": layer,
                "operator": operator["message"] if operator else None,
                "loss_before": [float(v) for v in losses(run)[max(step - 5, 0) : step]],
            },
            affected=max(int(bad.sum()), 1),
            of=len(bad),
            fix=Fix(FixSafety.UNSAFE, _remedy(layer)),
        )


def _remedy(layer: str | None) -> str:
    if layer == "input":
        return "leave out samples that are not finite, and do not divide by a standard deviation of 0"
    if layer:
        return f"look in {layer} for log(0), sqrt(0) or a division; under float16 use bfloat16"
    return "lower the learning rate and clip the gradient"
