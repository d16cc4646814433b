"""See AdamEpsDominates."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class AdamEpsDominates(Rule):
    """Adam's epsilon is larger than the root it should only guard.

    ## What it does
    Compares epsilon with sqrt(v), the running root mean square of the gradients.

    ## Why is this bad?
    The step is g / eps instead of g / sqrt(v): Adam turns into slow SGD with rate lr / eps.

    ## How it is computed
    In sampled steps, of every watched tensor the median of sqrt(v) / (sqrt(v) + eps) over elements that had a
    gradient; v is bias-corrected. Fires when the median over tensors and steps is below `kept` and eps above
    `least_eps`: the default of 1e-8 can only exceed gradients that have vanished.

    ## Example
        adam-eps-dominates eps 0.1 leaves 0.4 % of the step (limit 10 %): sqrt(v) is 4e-4

    ## Fix
    Use the default eps 1e-8, or 1e-6 to 1e-4 in half precision.

    ## Known false positives
    Recipes with a large eps and a rate raised for it (Inception with RMSprop, eps 1.0) learn all the same; their
    findings can be silenced.

    ## References
    TheDeepChecker; PyTorch documentation of torch.optim.Adam.
    """

    name = "adam-eps-dominates"
    code = "RUN088"
    category = Category.SUSPICIOUS
    causes = ("gradients-erased",)

    class Options(RuleOptions):
        """Options of this rule."""

        kept: float = 0.1
        """Share of the adaptive step that is left, in 0..1; healthy runs keep more than 0.99."""
        least_eps: float = 1e-6
        """Smaller ones are not to blame."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        eps = run.options.get("eps") or 0.0
        if not isinstance(eps, int | float):
            return  # Adafactor has a pair of another meaning.
        values = signal(run, "eps_kept").filter(pl.col("step") >= 1)["value"].to_numpy()
        values = values[np.isfinite(values)]
        if len(values) < 3 or eps < o.least_eps:
            return
        kept = float(np.median(values))
        if kept < o.kept:
            root = eps * kept / max(1 - kept, 1e-12)
            chain = [f"eps {eps:g}", f"median sqrt(v) {root:.1e}", f"{kept:.1%} of the step left"]
            yield Finding(
                message=(
                    f"eps {eps:g} is {1 / max(kept, 1e-12):.0f} times the gradients' root mean square {root:.1e} "
                    f"and leaves "
                    f"{kept:.1%} of {run.optimizer}'s step (limit {o.kept:.0%}); the weights hardly move"
                ),
                evidence={"eps": eps, "kept": kept, "chain": chain},
                fix=Fix(FixSafety.SAFE, "set eps to 1e-8", set_recipe(eps=1e-8)),
            )
