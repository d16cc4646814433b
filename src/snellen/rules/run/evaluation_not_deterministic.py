"""See EvaluationNotDeterministic."""

import re
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._trials import last
from snellen.watching.facts import RunFacts

MASKS = re.compile(r"(native_)?(dropout|bernoulli)")
"""Operators that draw a mask, as the trial's detail begins with them."""


class EvaluationNotDeterministic(Rule):
    """Dropout is at work in eval mode.

    ## What it does
    Evaluates the same samples twice in eval mode and notes which random operators run.

    ## Why is this bad?
    Validation and deployment are noisier and worse than the network is; scores change from run to run.

    ## How it is computed
    Fires when the outputs of the two passes differ by at least `limit` of their deviation and an operator that draws a
    mask (dropout, bernoulli) ran. `F.dropout(x)` without `training=self.training` does this, as does attention with a
    constant `dropout_p`. Networks that draw other random numbers (a VAE's code, noise of a diffusion) are left alone.

    ## Example
        evaluation-not-deterministic  two passes in eval mode differ by 0.42 of the outputs' spread (limit 1e-04)

    ## Fix
    Use nn.Dropout as a registered module, or pass `training=self.training`.

    ## Known false positives
    Monte Carlo dropout, where it is meant.

    ## References
    Hugging Face transformers, issue 33844: dropout active in evaluation through one attention path.
    """

    name = "evaluation-not-deterministic"
    code = "RUN063"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 1e-4
        """Largest difference of two passes over the outputs' deviation; non-deterministic kernels give about 1e-6."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        row = last(run, "evaluation-repeated")
        if row is None or row["value"] < self.options.limit or not MASKS.match(row["detail"] or ""):
            return
        where = row["layer"] or None
        place = f" in {where}" if where else ""
        yield Finding(
            message=(
                f"two passes over the same samples in eval mode differ by {row['value']:.2g} of the outputs' spread "
                f"(limit {self.options.limit:.0e}): dropout is drawn in eval mode{place}, so that scores are worse "
                "than the network and change each time"
            ),
            place=Place(layer=where),
            evidence={"difference": row["value"], "operator": row["detail"]},
            fix=Fix(FixSafety.UNSAFE, "pass training=self.training to F.dropout, or use nn.Dropout"),
        )
