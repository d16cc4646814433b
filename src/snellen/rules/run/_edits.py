"""Edits of a recipe that several run rules offer, and the learning rates they name.

An edit is `{"op": "set-recipe", FIELD: VALUE, ...}`. Fields are those of `snellen.training.recipe.Recipe`, and what
only a loop of the user's own has: `betas` and `eps` of its optimizer, `dropout`, `loss_reduction`, `schedule_per`
("step" or "epoch").

A fix of a recipe is safe where the same thing is learned from the same data afterwards and only the way there changes,
and the run shows that the present value cannot have been meant: nothing was learned with it. What changes the loss, the
network or the regularisation is unsafe, and so is what rests on a trial without a run behind it.
"""

from typing import Any

import numpy as np
import polars as pl

from snellen.rules.run._calls import family
from snellen.rules.run._series import top_rate
from snellen.rules.run._trials import last
from snellen.watching.facts import RunFacts

FIRST = 3
"""Samples that show the first updates; the first three steps are always sampled."""
ADAPTIVE_RATIO = 5e-2
"""||dW|| / ||W|| of the first updates of Adam and its kin: 0.016 to 0.08 in healthy runs, falling to 1e-3 later. Runs
at the lower end learn as much at three times their rate, those at the upper end not at a third of it."""
PLAIN_RATIO = 1e-2
"""The same for SGD with momentum, at its third update: 0.007 to 0.01."""
ONE_STEP = 0.4
"""First over third update of SGD with momentum 0.9: 1 / (1 + 0.9 + 0.81)."""
ADAPTIVE_RATE = 1e-3
"""Learning rate of Adam where nothing tells a better one (Kingma & Ba 2015, and the default of PyTorch)."""


def set_recipe(**settings: Any) -> dict[str, Any]:
    """The edit that sets these fields."""
    return {"op": "set-recipe", **settings}


def rounded(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")


def adaptive(run: RunFacts) -> bool:
    """Whether the optimizer divides by the size of the gradient, so that the rate alone decides the first updates."""
    return family(run.optimizer) not in ("sgd", "")


def fitting_rate(run: RunFacts) -> float | None:
    """The learning rate at which the first updates would have had the size of those of healthy runs.

    Update ratios of the first samples are taken to grow with the rate, which holds while the weights are still near
    those of the start. None when no update was sampled or all were 0.
    """
    rows = run.steps.select("lr", "update_ratio").drop_nulls().head(FIRST)
    rows = rows.filter(pl.col("update_ratio").is_finite() & (pl.col("update_ratio") > 0) & (pl.col("lr") > 0))
    if not rows.height:
        return None
    steepest = float((rows["update_ratio"] / rows["lr"]).to_numpy().max())
    return rounded((ADAPTIVE_RATIO if adaptive(run) else PLAIN_RATIO) / steepest)


def lower_rate(run: RunFacts) -> float | None:
    """A rate to try in place of one that is too high: a third to a thousandth of it; None where none was recorded.

    The one that fits the first updates, or a tenth of what a sweep suggested, whichever is lower: both overestimate.
    """
    rate = top_rate(run)
    if not rate > 0:
        return None
    suggestion = last(run, "lr-suggestion")
    candidates = [fitting_rate(run), suggestion["value"] / 10 if suggestion else None]
    return rounded(min(max(min((c for c in candidates if c), default=rate / 10), rate / 1000), rate / 3))


def higher_rate(run: RunFacts) -> float | None:
    """A rate to try in place of one that is too low: 10 to 1e6 times it; None where none was recorded.

    The one that fits the first updates, and without them a tenth of what a sweep suggested.
    """
    rate = top_rate(run)
    if not rate > 0:
        return None
    suggestion = last(run, "lr-suggestion")
    wanted = fitting_rate(run) or (suggestion["value"] / 10 if suggestion else 100 * rate)
    return rounded(min(max(wanted, 10 * rate), 1e6 * rate))


def first_rate(run: RunFacts) -> float | None:
    """A rate for a run that had none: a tenth of what a sweep suggests, else from weights and gradients at first."""
    suggestion = last(run, "lr-suggestion")
    if suggestion:
        return rounded(suggestion["value"] / 10)
    if adaptive(run):
        return ADAPTIVE_RATE
    weights = run.parameters.filter("trainable")["start_norm"].drop_nulls().to_numpy()
    norms = run.steps["grad_norm"].drop_nulls().to_numpy()[:FIRST]
    norms = norms[np.isfinite(norms) & (norms > 0)]
    size = float(np.sqrt((weights[np.isfinite(weights)] ** 2).sum()))
    return rounded(PLAIN_RATIO * ONE_STEP * size / float(np.median(norms))) if len(norms) and size > 0 else None
