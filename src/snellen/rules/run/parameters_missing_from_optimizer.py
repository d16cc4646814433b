"""See ParametersMissingFromOptimizer."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.findings.words import plural
from snellen.rules.run._copies import idle_copies
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ParametersMissingFromOptimizer(Rule):
    """Trainable parameters are in no optimizer and never change.

    ## What it does
    Compares the model's trainable parameters with those the optimizer holds.

    ## Why is this bad?
    These layers keep their random start while the rest learns around them.

    ## How it is computed
    Fires for parameters with requires_grad that the optimizer does not hold, whose norm at the end is that of the
    start, and that are not excused by another optimizer moving them. A copy of a model that is trained, as an average
    of its weights or a target network, is moved by other means and is not meant.

    ## Example
        parameters-missing-from-optimizer 2 of 6 trainable parameters (head.weight ...) are not in the optimizer

    ## Fix
    Build the optimizer after the model is complete; for layers that should stay, set requires_grad to False, which
    also saves their gradients.

    ## Known false positives
    Layers left out on purpose without freezing them.

    ## References
    TrainCheck's forum-84911; guardtower OPT-001.
    """

    name = "parameters-missing-from-optimizer"
    code = "RUN011"
    category = Category.CORRECTNESS
    causes = ("optimizer-holds-stale-tensors",)

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        copies = idle_copies(run)
        missing = [name for name in run.missing_from_optimizer if name not in copies]
        if missing and run.steps.height:
            names = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
            stale = event(run, "stale-parameters")
            hint = ""
            if stale:
                hint = (
                    f"; {int(stale['value'])} tensors it holds are not in the model: it was built before "
                    "a part was replaced"
                )
            yield Finding(
                message=(
                    f"{plural(len(missing), 'trainable parameter')} ({names}) missing from the optimizer (limit 0) "
                    f"and never changed{hint}"
                ),
                evidence={
                    "parameters": missing[:20],
                    "trainable_params": run.trainable_params,
                    "optimizer_params": run.optimizer_params,
                },
                affected=len(missing),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "build the optimizer from all parameters once the model is complete; freeze what should stay",
                ),
            )
