"""What the rules share that speak of records that an evaluation had to leave out."""

from collections.abc import Iterator
from typing import ClassVar

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Finding, Place

IMAGE_TASKS = ("semantic", "panoptic")
"""Tasks whose predictions come one an image."""


class LeftOut:
    """A rule says which `kinds` of `ScoreFacts.problems` it speaks of, and by `told` what they are."""

    kinds: ClassVar[tuple[str, ...]]

    def told(self, scores: ScoreFacts) -> str:
        """The message after the count: what these records are, and what follows."""
        raise NotImplementedError

    def total(self, scores: ScoreFacts, bad: pl.DataFrame) -> tuple[int, str]:
        """Of how many records, and what they are called."""
        if scores.task in IMAGE_TASKS:
            return max(scores.images, len(bad)), "images"
        aside = pl.col("kind").str.starts_with("object-") | (pl.col("kind") == "missing-prediction")
        own = scores.problems.filter(~aside)
        return len(scores.predictions) + len(own), "predictions"

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge what was left out."""
        bad = scores.problems.filter(pl.col("kind").is_in(self.kinds))
        if bad.is_empty():
            return
        of, noun = self.total(scores, bad)
        counts = dict(bad["kind"].value_counts(sort=True).rows())
        kinds = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
        first = bad["value"].drop_nulls().head(1).to_list()
        shown = f", the first {first[0][:80]!r}" if first else ""
        yield Finding(
            message=f"{len(bad)} of {of} {noun} {self.told(scores)} ({kinds}{shown})",
            place=Place(split=scores.split),
            evidence={
                "kinds": counts,
                "rows": bad["row"].drop_nulls().to_list()[:20],
                "values": bad["value"].drop_nulls().to_list()[:10],
                "images": bad["image"].drop_nulls().unique(maintain_order=True).to_list()[:10],
            },
            affected=len(bad),
            of=of,
        )
