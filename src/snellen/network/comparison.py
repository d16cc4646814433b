"""Networks side by side: what each costs, sees and is known to reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, prod

import polars as pl

from snellen.facts import Schema, table
from snellen.network.facts import CONVENTION, NetworkFacts
from snellen.network.published import SOURCE, published
from snellen.network.stages import stages

NETWORKS: Schema = {
    "network": (pl.String(), "as it was named"),
    "input": (pl.List(pl.Int64()), "the examined input, batch first"),
    "parameters": (pl.Int64(), "shared ones counted once"),
    "macs": (pl.Int64(), "multiply-adds of one forward pass"),
    "backward_macs": (pl.Int64(), "multiply-adds of the gradients"),
    "elementwise": (pl.Int64(), "element-wise operations of one forward pass"),
    "weight_bytes": (pl.Int64(), "bytes of the weights"),
    "activation_bytes": (pl.Int64(), "bytes that autograd keeps for one image"),
    "training_bytes": (pl.Int64(), "bytes of a training step at the compared batch and optimizer, float32"),
    "rf_height": (pl.Float64(), "local receptive field of the coarsest map, input pixels; null: unknown"),
    "rf_width": (pl.Float64(), "likewise"),
    "rf_global": (pl.Boolean(), "attention or a linear layer mixes the whole image before that map is done"),
    "seconds": (pl.Float64(), "wall seconds of a forward pass on this machine; null: not measured"),
    "score": (pl.Float64(), "0..1; null: nothing known"),
    "scored": (pl.String(), "what `score` is and where it is from"),
    "complete": (pl.Boolean(), "every operator that ran is counted; else costs are lower bounds"),
}


@dataclass(frozen=True)
class NetworkComparison:
    """Prints as a table, shows as one in Jupyter."""

    networks: pl.DataFrame
    """Columns `NETWORKS`, in the order asked for."""
    facts: Sequence[NetworkFacts]
    batch: int
    optimizer: str
    convention: str = CONVENTION

    @property
    def notes(self) -> list[str]:
        """What must be known to read the table: conventions, sources, assumptions."""
        told = [self.convention, f"training memory: batch {self.batch}, {self.optimizer}, float32"]
        sources = self.networks["scored"].drop_nulls().unique(maintain_order=True).to_list()
        told += [f"score: {source}" for source in sources]
        if any(SOURCE in source for source in sources):
            told.append("published accuracies are of weights of their time, not of those served today")
        machines = {f.timed_on.partition(", median")[0] for f in self.facts if f.timed_on}
        told += [f"time: {machine}" for machine in sorted(machines)]
        shapes = {tuple(f.input_shape) for f in self.facts}
        if len(shapes) == 1:
            told.append(f"input: {' × '.join(str(n) for n in next(iter(shapes)))}")
        else:
            told.append("the inputs differ, and with them all costs but the parameters")
        told += [f"{f.name}: {text}" for f in self.facts for text in f.assumptions or []]
        return told

    def __str__(self) -> str:
        from snellen.report.networks import networks_text

        return networks_text(self)

    def _repr_html_(self) -> str:
        from snellen.report.networks import networks_fragment

        return networks_fragment(self)


def compare_networks(
    named: Sequence[tuple[str, NetworkFacts]], scores: Sequence[tuple[float, str] | None] | None = None, *,
    batch: int = 32, optimizer: str = "adamw",
) -> NetworkComparison:  # fmt: skip
    """Put networks side by side.

    `named` are names as the user wrote them with their facts; `scores` a value and what it is, or None, for each: where
    there is none, the accuracy that was published under the name. Raises ValueError on an unknown optimizer.
    """
    scores = scores or [None] * len(named)
    rows = [_row(name, facts, score, batch, optimizer) for (name, facts), score in zip(named, scores, strict=True)]
    return NetworkComparison(table(NETWORKS, rows), [facts for _, facts in named], batch, optimizer)


def _row(
    name: str, facts: NetworkFacts, score: tuple[float, str] | None, batch: int, optimizer: str
) -> dict[str, object]:
    known = published(name)
    if score is None and known is not None:
        score = known.top1, f"top-1 accuracy, {known.weights} weights; {SOURCE}"
    last = stages(facts)[-1:]
    field = facts.field_of(last[0]) if last else None
    local = field.local if field is not None else None
    return {
        "network": name,
        "input": facts.input_shape,
        "parameters": facts.params,
        "macs": facts.macs,
        "backward_macs": facts.backward_macs,
        "elementwise": int(facts.layers["elementwise"].sum() or 0),
        "weight_bytes": facts.weight_bytes,
        "activation_bytes": facts.training_bytes_per_image,
        "training_bytes": facts.training_memory(batch, optimizer) if prod(facts.input_shape) else None,
        "rf_height": local[0] if local else None,
        "rf_width": local[1] if local else None,
        "rf_global": None if field is None else not isfinite(field.height),
        "seconds": facts.seconds_per_pass,
        "score": score[0] if score else None,
        "scored": score[1] if score else None,
        "complete": not facts.uncounted_operators,
    }
