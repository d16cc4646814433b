"""See AugmentationRepeats."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class AugmentationRepeats(Rule):
    """Loader workers draw the same random augmentation.

    ## What it does
    Compares rows that stand in the same place of different batches.

    ## Why is this bad?
    Every worker is a copy of the process that made it, with the same state of NumPy's generator: with W workers each
    augmentation is drawn W times, and augmentation is worth a W-th.

    ## How it is computed
    With W workers W batches in a row make a round, one batch from each. When workers draw alike, rows in the same
    place of batches of one round are more alike than rows in different places, and more so than those of batches
    of different rounds. Fires when this excess of the cosine is above `effect` and `z` standard errors for some W
    from 2 to 8; up to 64 batches of the first epochs are compared. Samplers that put classes in fixed places act
    in all rounds alike. Fires too where a loader has W workers and the batches of a round are equal row for row, by
    `equal` more often than those of two rounds.

    ## Example
        augmentation-repeats rows in the same place of 2 batches in a row are alike by 0.33 (27 standard errors)

    ## Fix
    Seed each worker: `worker_init_fn=lambda i: np.random.seed(torch.initial_seed() % 2**32)`, or draw from torch.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation, Randomness in multi-process data loading; Stack Overflow 67180955; TrainCheck's
    DistinctArgument.
    """

    name = "augmentation-repeats"
    code = "RUN137"
    category = Category.SUSPICIOUS
    causes = (
        "constant-input",
        "repeated-rows",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        effect: float = 0.05
        """Excess of the cosine; healthy runs, augmented or not, stay below 0.02."""
        z: float = 8.0
        """The same in standard errors; healthy runs stay below 2, and seven numbers of workers are tried."""
        equal: float = 0.7
        """Share of equal batches in a row within rounds, less that across; where an epoch is no whole number of rounds
        some are cut."""
        distinct: float = 0.9
        """Share of different rows within a batch, 0..1, below which its rows are no samples of their own."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, rounds = self.options, measure(run, "rounds-equal")
        if rounds is not None and rounds["value"] >= o.equal:
            yield Finding(
                message=(
                    f"{rounds['index']} workers in a row give the same batch, row for row, in {rounds['value']:.0%} of "
                    f"{rounds['of']:.0f} batches (limit {o.equal:.0%}): they draw alike, or an IterableDataset is not "
                    "shared out among them"
                ),
                place=Place(layer="input"),
                evidence={"workers": rounds["index"], "share": rounds["value"]},
                fix=Fix(
                    FixSafety.UNSAFE, "seed each worker anew, share items out by torch.utils.data.get_worker_info()"
                ),
            )
            return
        row = measure(run, "places-alike")
        if row is None or row["value"] < o.effect or row["of"] < o.z:
            return
        own = measure(run, "batch-distinct", "training")
        if own is not None and own["value"] < o.distinct:
            return
        workers = row["index"]
        yield Finding(
            message=(
                f"rows in one place of {workers} batches in a row are alike by {row['value']:.2f} ({row['of']:.0f} "
                f"standard errors, limit {o.z:g}), beyond that not: {workers} workers draw the same augmentations"
            ),
            place=Place(layer="input"),
            evidence={
                "excess": row["value"],
                "z": row["of"],
                "workers": workers,
                "chain": [
                    f"likeness within rounds of {workers} batches, not across: the generators of the workers agree"
                ],
            },
            fix=Fix(FixSafety.SAFE, "seed NumPy in each worker by torch.initial_seed()"),
        )
