"""Which weight layers feed a BatchNorm and nothing else, read from the facts."""

from snellen.network.facts import NetworkFacts

Pair = tuple[str, str]
"""Dotted names of a weight layer and of the BatchNorm that alone reads it."""


def norm_pairs(facts: NetworkFacts) -> list[Pair]:
    """Convolution and linear layers whose only reader is a BatchNorm, both called once, in order of the pass."""
    rows = {(r["layer"], r["kind"]): r for r in facts.layers.iter_rows(named=True)}
    readers: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for source, source_kind, _, target, target_kind, _ in facts.edges.iter_rows():
        readers.setdefault((source, source_kind), set()).add((target, target_kind))
    pairs = []
    for place, found in readers.items():
        norm = next(iter(found))
        once = rows[place]["calls"] == rows[norm]["calls"] == len(found) == 1
        weighted = place[1].startswith(("Conv", "Linear")) and rows[place]["has_bias"] is not None
        if once and weighted and norm[1].startswith(("BatchNorm", "SyncBatchNorm")):
            pairs.append((place[0], norm[0]))
    return pairs
