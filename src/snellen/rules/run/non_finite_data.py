"""See NonFiniteData."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._series import losses
from snellen.watching.facts import RunFacts


class NonFiniteData(Rule):
    """Inputs or targets hold NaN or infinity.

    ## What it does
    Names the batch, the sample in it and the tensor that holds the first non-finite value.

    ## Why is this bad?
    One such value makes the loss, every gradient and then every weight NaN.

    ## How it is computed
    Batches are looked at in sampled steps, and in the first steps whose loss is not finite. Fires when inputs or
    targets hold NaN or infinity in a step whose loss is not finite (an infinite entry of a mask leaves it finite).

    ## Example
        non-finite-data 64 values of the input are NaN or infinite, in sample 7 of step 41's batch

    ## Fix
    Drop or mend that sample; look for 0 / 0 in its normalisation, missing entries of a table, log of 0.

    ## Known false positives
    None known.

    ## References
    UMLAUT checks the input for NaN.
    """

    name = "non-finite-data"
    code = "RUN055"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        values = losses(run)
        bad = run.batches.filter(
            (pl.col("nonfinite") > 0) & (pl.col("phase") == "training") & pl.col("role").is_in(["input", "target"])
        ).sort("step", maintain_order=True)
        for row in bad.to_dicts():
            step = row["step"]
            if step >= len(values) or np.isfinite(values[step]) or not np.isfinite(values[:step]).all():
                continue
            at = row["nonfinite_at"] or []
            where = f", in sample {at[0]}" + (f" and {len(at) - 1} more" if len(at) > 1 else "") if at else ""
            yield Finding(
                message=(
                    f"{row['nonfinite']} values of the {row['role']} are NaN or infinite{where} of step {step}'s "
                    "batch (limit 0): loss, gradients and weights become so, too"
                ),
                place=Place(layer=row["role"], step=step),
                evidence={"step": step, "role": row["role"], "samples": at, "values": row["nonfinite"]},
                affected=max(len(at), 1),
                fix=Fix(FixSafety.UNSAFE, "drop or mend the sample"),
            )
            return
