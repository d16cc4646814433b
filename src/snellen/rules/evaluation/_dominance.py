"""What the rules share that ask whether one kind of error holds most of the lost points."""

from collections.abc import Iterator
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Finding, Place, RuleOptions


class DominanceOptions(RuleOptions):
    """Limits."""

    min_cost: float = Field(default=0.1, ge=0, le=1)
    """Points of mAP50 (0..1)."""
    min_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the sum of all types' costs."""
    min_count: int = Field(default=20, ge=1)
    """Errors of this type; fewer say little."""


class Dominance:
    """A rule says which `kind` it judges and, by `told`, what the errors are; all three limits must be passed."""

    kind: ClassVar[str]
    options: Any

    def told(self, errors: pl.DataFrame, scores: ScoreFacts) -> str:
        """The beginning of the message: what the errors are, and what mending them is called."""
        raise NotImplementedError

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the costs."""
        cost, total = scores.error_costs.get(self.kind, 0.0), sum(scores.error_costs.values())
        errors = scores.predictions.filter(pl.col("outcome") == self.kind).sort("score", descending=True)
        o = self.options
        if cost < o.min_cost or cost < o.min_share * total or len(errors) < o.min_count:
            return
        by_class = scores.costs.filter((pl.col("kind") == self.kind) & (pl.col("property") == "class"))
        worst = by_class.sort("cost", descending=True).head(5)
        yield Finding(
            message=f"{self.told(errors, scores)} {cost:.2f} of mAP50 (limit {o.min_cost:g}), "
            f"{cost / total:.0%} of all lost points",
            place=Place(split=scores.split),
            evidence={
                "costs": scores.error_costs,
                "cost_by_class": dict(worst.select("bin", "cost").iter_rows()),
                "images": errors["image"].unique(maintain_order=True).to_list()[:10],
            },
            affected=len(errors),
            of=len(scores.predictions),
        )
