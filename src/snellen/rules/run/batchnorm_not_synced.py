"""See BatchnormNotSynced."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class BatchnormNotSynced(Rule):
    """Batch norm takes its statistics from a few samples of one process.

    ## What it does
    Reads the number of processes, the batch on this one, and the kinds of norm layers.

    ## Why is this bad?
    Each process normalises by its own few samples; the noise of the statistics harms training, and running
    statistics differ between ranks.

    ## How it is computed
    Fires when two or more processes train, the median batch of this one has at most `batch` samples, and
    trainable batch norm layers are not SyncBatchNorm.

    ## Example
        batchnorm-not-synced 20 batch norm layers see 2 samples each on 8 processes

    ## Fix
    Convert with `nn.SyncBatchNorm.convert_sync_batchnorm(model)`, or use group norm.

    ## Known false positives
    None known.

    ## References
    Peng et al. 2018, MegDet, arXiv:1711.07240; Wu & He 2018, Group Normalization, arXiv:1803.08494, figure 1.
    """

    name = "batchnorm-not-synced"
    code = "RUN104"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        batch: int = 4
        """Samples per process up to which statistics are noise; group norm's authors find the harm below 8."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        world = event(run, "distributed")
        sizes = run.steps["batch_size"].drop_nulls()
        layers = run.parameters.filter(
            pl.col("layer").str.contains(r"^BatchNorm\d?d?$") & pl.col("trainable") & (pl.col("shape").list.len() == 1)
        )
        if not world or layers.is_empty() or not len(sizes):
            return
        size = float(np.median(sizes.to_numpy()))
        if size > self.options.batch:
            return
        names = sorted({n.rpartition(".")[0] for n in layers["name"]})
        yield Finding(
            message=(
                f"{plural(len(names), 'batch norm layer')} ({listed(names, 3)}) take statistics from {size:g} "
                f"samples (limit "
                f"{self.options.batch}) on each of {world['value']:g} processes and are not synchronised; the "
                f"statistics are noise"
            ),
            place=Place(layer=names[0]),
            evidence={
                "layers": names[:20],
                "batch": size,
                "chain": [f"{world['value']:g} processes", f"{size:g} samples on each", "no SyncBatchNorm"],
            },
            affected=len(names),
            fix=Fix(FixSafety.UNSAFE, "convert the model with nn.SyncBatchNorm.convert_sync_batchnorm"),
        )
