"""See WrapperBypassed."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class WrapperBypassed(Rule):
    """The module inside DistributedDataParallel is called instead of the wrapper.

    ## What it does
    Counts the calls of the wrapper and of the module it wraps.

    ## Why is this bad?
    Gradients are not averaged over the processes: each rank trains its own model, and only one is saved.

    ## How it is computed
    Fires when, in a group of two or more processes, the wrapped module ran with gradients and its wrapper never
    did.

    ## Example
        wrapper-bypassed the module was called 150 times and its DistributedDataParallel wrapper 0 times

    ## Fix
    Call the wrapper: `ddp(x)`, not `ddp.module(x)` or the module you wrapped.

    ## Known false positives
    Gradients averaged by hand although a wrapper exists.

    ## References
    TrainCheck's x-jxmnop.
    """

    name = "wrapper-bypassed"
    code = "RUN102"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "wrapper-bypassed")
        if not found:
            return
        count = int(found["value"])
        yield Finding(
            message=(
                f"the module ran {count} times and the DistributedDataParallel around it 0 times (limit 1); "
                f"gradients are not "
                "averaged and the ranks diverge"
            ),
            evidence={
                "calls": count,
                "chain": ["a wrapper exists", f"module called {count} times", "wrapper called 0 times"],
            },
            affected=count,
            fix=Fix(FixSafety.UNSAFE, "call the wrapper, not the module inside"),
        )
