"""See OptimizerNeverSteps."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class OptimizerNeverSteps(Rule):
    """Training steps are recorded and the optimizer never steps.

    ## What it does
    Counts the calls of `optimizer.step()`.

    ## Why is this bad?
    Nothing is learned.

    ## How it is computed
    Fires when at least `min_steps` steps were recorded, `optimizer.step()` of the watched optimizer ran 0 times and
    no weight changed; or when one of several, whose weights took part and got gradients, ran none in `idle` steps.

    ## Example
        optimizer-never-steps 150 steps were recorded and optimizer.step() ran 0 times

    ## Fix
    Call `optimizer.step()` after backward.

    ## Known false positives
    None known: weights moved by other means count as steps.

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56.
    """

    name = "optimizer-never-steps"
    code = "RUN009"
    category = Category.CORRECTNESS
    causes = ("scaler-skips", "optimizer-holds-stale-tensors")

    class Options(RuleOptions):
        """Options of this rule."""

        min_steps: int = 3
        """Recorded steps before anything is said."""

        idle: int = 50
        """Steps of the others in which one of several optimizers should have stepped."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "optimizer-never-stepped")
        if found and found["value"] >= self.options.min_steps and not run.steps["skipped"].all():
            yield Finding(
                message=(
                    f"{int(found['value'])} steps were recorded (limit {self.options.min_steps}) and "
                    "optimizer.step() ran 0 times; no weight changed"
                ),
                affected=int(found["value"]),
                fix=Fix(FixSafety.UNSAFE, "call optimizer.step() after loss.backward()"),
            )
            return
        stepped = set(run.calls["optimizer"].to_list())
        rows = {row["name"]: row for row in run.parameters.iter_rows(named=True)}
        for group in run.groups.iter_rows(named=True):
            mine = [rows[name] for name in group["tensors"] if name in rows]
            idle = mine and all(
                r["trainable"] and r["called"] and r["moved"] is False and r["optimizers"] == 1 for r in mine
            )
            if not stepped or group["optimizer"] in stepped or run.steps.height < self.options.idle or not idle:
                continue
            if any(r["name"] in run.without_gradient for r in mine):
                continue
            yield Finding(
                message=(
                    f"{group['kind']} number {group['optimizer']} never stepped in {run.steps.height} steps (limit "
                    f"{self.options.idle}) in which another one did: its {group['parameters']:,} weights "
                    f"({mine[0]['name']} ...) are as they began"
                ),
                place=Place(layer=mine[0]["name"].rpartition(".")[0] or None),
                evidence={"optimizer": group["optimizer"], "tensors": group["tensors"][:10]},
                affected=run.steps.height,
                fix=Fix(FixSafety.UNSAFE, "call step() of every optimizer after backward()"),
            )
            return
