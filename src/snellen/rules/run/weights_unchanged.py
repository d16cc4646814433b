"""See WeightsUnchanged."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import LOSS_FAULTS
from snellen.rules.run._series import ratios, top_rate
from snellen.watching.facts import RunFacts


class WeightsUnchanged(Rule):
    """Optimizer steps leave every weight exactly as it was.

    ## What it does
    Compares the weights before and after sampled steps.

    ## Why is this bad?
    Nothing is learned; the loss only reflects the batches.

    ## How it is computed
    Fires when every one of at least `min_samples` sampled updates is exactly 0.

    ## Example
        weights-unchanged 10 of 10 sampled steps changed no weight; lr 1e-12 is below float32 resolution

    ## Fix
    See the finding it is folded under; alone, the update is below the resolution of the weights' type.

    ## Known false positives
    None known.

    ## References
    SageMaker Debugger UnchangedTensor; DeepLocalize (5 iterations unchanged).
    """

    name = "weights-unchanged"
    code = "RUN010"
    category = Category.CORRECTNESS
    causes = (
        "no-backward",
        "optimizer-never-steps",
        "gradients-erased",
        "forward-without-grad",
        "parameters-missing-from-optimizer",
        "layer-without-gradient",
        "frozen-parameters",
        "lr-zero",
        "clipping-dominates",
        "dead-relu",
        "vanishing-gradient",
        "lr-too-low",
        "loss-not-finite",
        "constant-input",
        "loss-without-graph",
        "update-below-resolution",
        "optimizer-holds-stale-tensors",
        "scaler-skips",
        "adapters-miswired",
        "step-function-in-forward",
        *LOSS_FAULTS,
    )

    class Options(RuleOptions):
        """Options of this rule."""

        min_samples: int = 3
        """Sampled steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        sizes = ratios(run)
        if len(sizes) >= self.options.min_samples and not sizes.any():
            norms = run.steps["grad_norm"].drop_nulls().to_numpy()
            norm = float(np.median(norms)) if len(norms) else 0.0
            yield Finding(
                message=(
                    f"{len(sizes)} of {len(sizes)} sampled optimizer steps (limit "
                    f"{self.options.min_samples}) changed no weight at all (median gradient norm "
                    f"{norm:.2g}); nothing is learned"
                ),
                evidence={"samples": len(sizes), "median_grad_norm": norm, "lr": top_rate(run)},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "keep the weights in float32, and check that gradients and optimizer.step() reach them",
                ),
            )
