"""See PlateauModeReversed."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class PlateauModeReversed(Rule):
    """A scheduler that waits for a plateau takes getting better for getting worse.

    ## What it does
    Compares the best number that `ReduceLROnPlateau` remembers with the results of the epochs.

    ## Why is this bad?
    Every improvement counts as a bad epoch, so that the learning rate is cut while the model learns.

    ## How it is computed
    Fires when the scheduler is in mode "min", its best number is the lowest metric of the epochs, which is no
    validation loss and was higher in at least `epochs` epochs; or in mode "max" and its best is the highest loss.

    ## Example
        plateau-mode-reversed mode is "min" and the scheduler is given the accuracy: its best is 0.61 of 0.61 to 0.93

    ## Fix
    `ReduceLROnPlateau(optimizer, mode="max")` for accuracy, mAP or IoU; mode "min" for a loss.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of ReduceLROnPlateau (mode).
    """

    name = "plateau-mode-reversed"
    code = "RUN199"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        epochs: int = 3
        """Epochs with a result on the better side of the one that is taken for the best."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        metric, loss = (run.epochs[c].drop_nulls().to_list() for c in ("metric", "val_loss"))
        for mode, given, other, name in (
            ("min", metric, loss, run.metric_name or "metric"),
            ("max", loss, metric, "loss"),
        ):
            held = event(run, f"scheduler-best-{mode}")
            if held is None or not given:
                continue
            best, worst = held["value"], (min if mode == "min" else max)(given)
            same = abs(best - worst) <= 1e-4 * abs(worst)
            if not same or any(abs(best - v) <= 1e-6 * abs(v) for v in other):
                continue
            better = sum(abs(v - worst) > 1e-3 * abs(worst) for v in given)
            if better < self.options.epochs:
                continue
            right = "max" if mode == "min" else "min"
            yield Finding(
                message=(
                    f'{held["layer"]} is in mode "{mode}" and is given the {name}: it takes {best:.4g} for the best, '
                    f"and {better} of {len(given)} epochs (limit {self.options.epochs}) that were better for bad ones"
                ),
                evidence={"mode": mode, "best": best, "results": given[:10]},
                fix=Fix(FixSafety.UNSAFE, f'mode="{right}"'),
            )
