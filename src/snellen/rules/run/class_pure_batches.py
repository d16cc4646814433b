"""See ClassPureBatches."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class ClassPureBatches(Rule):
    """Batches hold one class each: the data is sorted and not shuffled.

    ## What it does
    Compares the classes within a batch with those of the whole run.

    ## Why is this bad?
    Each step teaches "everything is this class" and the next one unteaches it: the loss jumps, batch norm sees one
    class at a time.

    ## How it is computed
    Of all pairs of images in a batch, q is the share with one class id, and p the same share among all images seen.
    Batches drawn at random have q = p on average at every batch size. Fires when the mean of (q - p) / (1 - p) over
    at least `min_steps` batches of at least `min_images` images is `excess` or more. Class ids have to be given:
    `recorder.step(..., labels=ids)`.

    ## Example
        class-pure-batches 97 % of the pairs within a batch are of one class (10 % in the run as a whole)

    ## Fix
    `DataLoader(..., shuffle=True)`, or shuffle the list of images once before it is split.

    ## Known false positives
    Samplers that draw one class per batch on purpose; those of metric learning draw several and stay far below the
    limit.

    ## References
    Bengio 2012, Practical Recommendations, section 3.1.1 (examples in random order); PyTorch documentation,
    `torch.utils.data.DataLoader`: `shuffle` is off by default.
    """

    name = "class-pure-batches"
    code = "RUN030"
    category = Category.CORRECTNESS
    causes = ("constant-input",)

    class Options(RuleOptions):
        """Options of this rule."""

        excess: float = 0.5
        """Intra-class correlation of the batches, 0 (random) to 1 (pure); 4 images of each class in 32 give 0.1."""
        min_steps: int = 10
        """Batches before anything is said."""
        min_images: int = 4
        """Smallest batch that is counted; pairs of a smaller one are too few."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        whole = run.same_class
        rows = run.steps.filter(pl.col("same_class").is_not_null() & (pl.col("batch_size") >= self.options.min_images))
        if whole is None or whole >= 1 or rows.height < self.options.min_steps:
            return
        within = float(rows["same_class"].to_numpy().mean())
        excess = (within - whole) / (1 - whole)
        if excess >= self.options.excess:
            pure = int((rows["same_class"] == 1).sum())
            yield Finding(
                message=(
                    f"{within:.0%} of the pairs of images within a batch are of one class, {whole:.0%} in the run as a "
                    f"whole (excess {excess:.2f}, limit {self.options.excess:g}): the data is sorted and not shuffled, "
                    "so each step unlearns the one before"
                ),
                evidence={"within_batches": within, "in_the_run": whole, "pure_batches": pure},
                affected=pure,
                of=rows.height,
                fix=Fix(FixSafety.UNSAFE, "DataLoader(..., shuffle=True)"),
            )
