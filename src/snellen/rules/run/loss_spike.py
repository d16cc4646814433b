"""See LossSpike."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._calls import family
from snellen.rules.run._edits import rounded, set_recipe
from snellen.watching.facts import RunFacts


class LossSpike(Rule):
    """A sudden large gradient met a small second moment: the update and then the loss jumped.

    ## What it does
    Looks for a jump of the gradient norm that comes before a jump of the loss.

    ## Why is this bad?
    Adam divides by the root of a slow average; after quiet steps it is too small for the new gradient, and one
    update undoes many.

    ## How it is computed
    At some step after `window` others the gradient norm was at least `jump` times its median over the window;
    then, within `after` steps, the median loss of three steps was at least `rise` times that of the window and
    above `share` of the first loss, and not back at `healed_at` of the window's within `healed`. Only for Adam and its
    kin.

    ## Example
        loss-spike at step 80 the gradient norm rose from 0.02 to 3.1 (155 times) and the loss from 0.04 to
        2.2

    ## Fix
    Clip at a small multiple of the usual norm, lower beta2 to 0.95 to 0.99, or warm up again after a quiet
    period.

    ## Known false positives
    A change of the data in the middle of a run (curriculum, new task) does the same.

    ## References
    marin issue 1368 (the update norm spikes before the loss); Molybog et al. 2023, arXiv:2304.09871.
    """

    name = "loss-spike"
    code = "RUN095"
    category = Category.SUSPICIOUS
    causes = (
        "no-positive-targets",
        "degenerate-target-boxes",
        "optimizer-state-lost",
        "gradients-not-cleared",
        "negative-loss",
        "batchnorm-few-samples",
        "target-boxes-as-sides",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        window: int = 20
        """Steps before that say what is usual."""
        jump: float = 10.0
        """Gradient norm over its usual value; single hard batches reach 3 to 5."""
        rise: float = 3.0
        """Loss over its usual value."""
        share: float = 0.2
        """Of the first loss that the loss must come back to, so that noise near 0 does not count."""
        healed: int = 30
        """Steps in which a loss that was given another task learns it."""
        healed_at: float = 1.5
        """Loss over its usual value that counts as back."""
        after: int = 10
        """Steps in which the loss has to rise."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        if not (family(run.optimizer).startswith("adam") or family(run.optimizer) == "rmsprop"):
            return
        rows = run.steps.select("step", "loss", "grad_norm").drop_nulls()
        steps, values, norms = (rows[c].to_numpy() for c in ("step", "loss", "grad_norm"))
        for t in range(o.window, len(values) - 3):
            quiet, level = np.median(norms[t - o.window : t]), np.median(values[t - o.window : t])
            if not (quiet > 0 and norms[t] >= o.jump * quiet and level > 0):
                continue
            later = [np.median(values[i : i + 3]) for i in range(t + 1, min(t + 1 + o.after, len(values) - 2))]
            peak = max(later, default=0.0)
            rest = values[t + 1 + int(np.argmax(later or [0])) : t + 1 + o.healed]
            back = any(np.median(rest[i : i + 3]) < o.healed_at * level for i in range(len(rest) - 2))
            if peak >= o.rise * level and peak >= o.share * values[0] and not back:
                limit = rounded(3 * float(quiet))
                chain = [
                    f"gradient norm {quiet:.2g} before step {steps[t]}, {norms[t]:.2g} at it",
                    f"loss {level:.2g} before, {peak:.2g} after",
                ]
                yield Finding(
                    message=(
                        f"at step {steps[t]} the gradient norm rose from {quiet:.2g} to {norms[t]:.2g} "
                        f"({norms[t] / quiet:.0f} "
                        f"times, limit {o.jump:g}) and then the loss from {level:.2g} to {peak:.2g}; "
                        f"{run.optimizer}'s second "
                        "moment still was that of the quiet steps"
                    ),
                    place=Place(step=int(steps[t])),
                    evidence={"jump": float(norms[t] / quiet), "loss": float(peak), "chain": chain},
                    fix=Fix(
                        FixSafety.SAFE,
                        f"clip the gradient norm at {limit:g}, or lower beta2",
                        set_recipe(clip_norm=limit),
                    ),
                )
                return
