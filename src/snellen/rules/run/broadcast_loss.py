"""See BroadcastLoss."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, rows
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class BroadcastLoss(Rule):
    """A squared loss compares every prediction with every target: shapes (N, 1) and (N,) were broadcast to (N, N).

    ## What it does
    Looks whether the gradient that the loss sends to each prediction depends on that sample's own target.

    ## Why is this bad?
    Every prediction is drawn to the mean of the batch's targets: the model learns a constant, and the loss falls to
    the variance of the targets as if it learned.

    ## How it is computed
    Where outputs and targets are given, the loss is recognised by its value, and fires when it is that of all N x N
    pairs. Otherwise: the squared loss sends 2 (y_i - t_i) / N to prediction y_i. Broadcast, it sends
    2 (y_i - mean t) / N: a linear function of y_i alone. Fires for a loss of kind mse with one output per sample when
    in all of at least `samples` sampled steps the part of the gradient that is no such function is below `rest` of the
    largest gradient, and the output at which the function is 0, mean t, differs between steps. One constant target, as
    in least-squares GANs, does not differ and is silent. Steps where all outputs are nearly equal say nothing.

    ## Example
        broadcast-loss in 10 of 10 sampled steps the gradient of a prediction does not depend on its own target

    ## Fix
    Give both one shape: `loss(model(x).squeeze(1), y)`.

    ## Known false positives
    Targets that are equal within each batch and differ between batches.

    ## References
    PyTorch, `torch.nn.functional.mse_loss`, warns of differing sizes; an expression of one's own does not.
    """

    name = "broadcast-loss"
    code = "RUN031"
    category = Category.CORRECTNESS
    causes = ("constant-input",)

    class Options(RuleOptions):
        """Options of this rule."""

        samples: int = 3
        """Sampled steps that can tell, before anything is said."""
        rest: float = 1e-4
        """Share of the largest gradient; float32 rounding leaves 1e-6, targets of one's own 0.05 and more."""
        spread: float = 1e-3
        """Least standard deviation of the target between steps, as a share of its size, that is no rounding."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if known:
            if known["broadcast"]:
                shapes = [s[0] if (s := rows(run, r)["shape"].to_list()) else [] for r in ("output", "target")]
                yield Finding(
                    message=(
                        f"the loss is the {known['name']} of every output with every target: shapes {shapes[0]} and "
                        f"{shapes[1]} (limit: one shape) were broadcast to N x N, and all is drawn to the mean"
                    ),
                    place=Place(layer="loss"),
                    evidence={"output": shapes[0], "target": shapes[1], "error": known["error"]},
                    fix=Fix(FixSafety.UNSAFE, "loss(model(x).squeeze(1), y)"),
                )
            return
        if not run.loss_kind.lower().startswith(("mse", "l2", "squared")):
            return
        o = self.options
        own = signal(run, "target_dependence")["value"].to_numpy()
        seen = signal(run, "target_seen")["value"].to_numpy()
        if len(own) < o.samples or own.max() >= o.rest or seen.std() <= o.spread * np.abs(seen).max():
            return
        yield Finding(
            message=(
                f"in {len(own)} of {len(own)} sampled steps the loss draws every prediction to the mean of the batch's "
                f"targets and not to its own (at most {own.max():.0e} of the gradient is the sample's own, limit "
                f"{o.rest:.0e}): predictions (N, 1) and targets (N,) were broadcast to (N, N)"
            ),
            place=Place(layer="loss"),
            evidence={"samples": len(own), "own_share": float(own.max()), "targets_seen": seen[:10].tolist()},
            fix=Fix(FixSafety.UNSAFE, "loss(model(x).squeeze(1), y)"),
        )
