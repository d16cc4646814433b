"""See SameOrderEveryEpoch."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class SameOrderEveryEpoch(Rule):
    """A shuffling sampler brings the same order in every epoch: set_epoch is not called.

    ## What it does
    Compares the batches of the epochs, and reads the epoch that the DistributedSampler was told of.

    ## Why is this bad?
    DistributedSampler seeds its shuffle with the epoch; without `set_epoch` every epoch has the same batches.

    ## How it is computed
    Fires when the batches repeat exactly with one period of 4 steps or more, a DistributedSampler with shuffle is
    alive, and its epoch is still 0.

    ## Example
        same-order-every-epoch batches repeat every 31 steps and the DistributedSampler is still at epoch 0

    ## Fix
    Call `loader.sampler.set_epoch(epoch)` at the start of each epoch.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of DistributedSampler; PYSIASSIST.
    """

    name = "same-order-every-epoch"
    code = "RUN103"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        order, sampler = event(run, "same-order"), event(run, "sampler-epoch")
        if not order or not sampler or sampler["value"] > 0:
            return
        period = int(order["value"])
        yield Finding(
            message=(
                f"the batches repeat in the same order every {period} steps (limit: never) and a shuffling "
                f"DistributedSampler is "
                "still at epoch 0; set_epoch() is not called"
            ),
            place=Place(step=order["step"]),
            evidence={"period": period, "chain": [f"batch {period} equals batch 0", "the sampler's epoch is 0"]},
            fix=Fix(FixSafety.SAFE, "call sampler.set_epoch(epoch) before each epoch"),
        )
