"""See MomentumTooHigh."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import family, groups
from snellen.rules.run._edits import set_recipe
from snellen.watching.facts import RunFacts


class MomentumTooHigh(Rule):
    """Momentum remembers more steps than the run can use.

    ## What it does
    Reads momentum and betas of every parameter group.

    ## Why is this bad?
    Updates follow gradients of hundreds of steps ago: the loss oscillates, and with SGD the effective rate lr /
    (1 - momentum) is far above lr.

    ## How it is computed
    Momentum m averages over 1 / (1 - m) steps. Fires when m (or beta1) is at least `momentum`; and for Adam when
    beta1 is not below sqrt(beta2), where the direction outlives the scale and Adam need not converge: both betas
    are swapped or mistyped.

    ## Example
        momentum-too-high momentum 0.999 averages over 1000 steps; the effective learning rate is 1000 times
        lr

    ## Fix
    Use momentum 0.9 (Adam: betas 0.9 and 0.999).

    ## Known false positives
    Momentum 0.99 is in use (nnU-Net) and is not meant.

    ## References
    Reddi et al. 2018, On the Convergence of Adam, arXiv:1904.09237 (beta1 < sqrt(beta2)); DeepCrime changes
    momentum among its mutations.
    """

    name = "momentum-too-high"
    code = "RUN089"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        momentum: float = 0.995
        """Momentum that averages over 200 steps; the highest in use is 0.99."""
        min_steps: int = 10
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        if run.steps.height < o.min_steps:
            return
        for row, options in groups(run):
            betas = options.get("betas")
            adam = family(row["kind"]).startswith("adam") and isinstance(betas, list | tuple) and len(betas) == 2
            first = float(betas[0]) if adam and betas else float(options.get("momentum") or 0.0)
            name = "beta1" if adam else "momentum"
            if first >= o.momentum:
                steps = 1 / max(1 - first, 1e-9)
                why = f"{name} {first:g} (limit {o.momentum:g}) averages over {steps:.0f} steps"
                why += "" if adam else f" and makes the effective learning rate {steps:.0f} times lr"
            elif adam and betas and first >= float(betas[1]) ** 0.5:
                why = f"beta1 {first:g} is not below sqrt(beta2) = {float(betas[1]) ** 0.5:.3g} (limit)"
            else:
                continue
            yield Finding(
                message=f"{why}; updates follow stale gradients and the loss oscillates",
                evidence={
                    "optimizer": row["kind"],
                    "options": options,
                    "chain": [why, f"{run.steps.height} steps so far"],
                },
                fix=Fix(FixSafety.SAFE, "set betas to 0.9 and 0.999", set_recipe(betas=[0.9, 0.999]))
                if adam
                else Fix(FixSafety.SAFE, "set momentum to 0.9", set_recipe(momentum=0.9)),
            )
            return
