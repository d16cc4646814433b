"""See KeypointFlipNotInvolution."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule


class KeypointFlipNotInvolution(Rule):
    """A mirror table that does not lead back.

    ## What it does
    Reports flip indices under which mirroring twice is not the same as not mirroring.

    ## Why is this bad?
    Horizontal flips then move points to the wrong joints in half of the batches: left becomes right and right becomes
    something else.

    ## How it is computed
    The table must be a permutation of 0..K-1 that is its own inverse, of the length of the skeleton.

    ## Example
        data.yaml  keypoint-flip-not-involution  flip index 3 leads to 4, and 4 to 5 ...

    ## Fix
    Write the pairs both ways.

    ## Known false positives
    None known.

    ## References
    None known.
    """

    name = "keypoint-flip-not-involution"
    code = "ANN046"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        flip = data.keypoint_flip
        length = len(data.keypoint_names) or data.keypoints.select(pl.col("xyv").list.len().max() // 3).item()
        if not flip:
            return
        odd = next((i for i, j in enumerate(flip) if not 0 <= j < len(flip) or flip[j] != i), None)
        if odd is not None:
            to = flip[odd]
            back = flip[to] if 0 <= to < len(flip) else None
            what = f"point {odd} becomes {to}, and {to} becomes {'nothing' if back is None else back}"
        elif length and length != len(flip):
            what = f"the table has {len(flip)} entries for {length} points"
        else:
            return
        yield Finding(
            message=f"{what} when mirrored: horizontal flips put points on the wrong joints in half of the batches",
            evidence={"flip": flip},
        )
