"""See NormOverWrongAxis."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._layers import modules, widths
from snellen.watching.facts import RunFacts


class NormOverWrongAxis(Rule):
    """A norm runs over places, time or the batch where features were meant.

    ## What it does
    Reports layer norms over an axis that no layer with weights takes or gives as features while another axis is one,
    batch norms whose channels are places, and layer norms that run over the whole batch.

    ## Why is this bad?
    Normalising over time lets each step see all others, the future included, and takes away the very differences
    between places; over the batch it mixes samples.

    ## How it is computed
    `normalized_shape` (or `num_features`) of one axis, the input's shape in the first forward pass, and all numbers of
    features that linear layers, convolutions, embeddings and recurrent layers take or give. Fires when the normalised
    length is none of them, divides none where heads have an axis of their own, and axis 1 (layer norm) or the last
    (batch norm) is one. A function call that normalises all axes of its input, the first included, always fires, and so
    does a layer norm of a single number, whose output is its bias whatever comes in. A hand-written norm shows in its
    first output: with a weight for each feature, it has mean 0 and deviation 1 over the places of axis 1.

    ## Example
        norm-over-wrong-axis norm1 normalises 17 values of (32, 32, 17): no layer has 17 features, axis 1 has 32

    ## Fix
    Give layer norm the number of features, and transpose so that they come last.

    ## Known false positives
    Networks that mix tokens by learned weights of a length that no linear layer shows.

    ## References
    Ba, Kiros & Hinton 2016, Layer Normalization, arXiv:1607.06450, eq. 3.
    """

    name = "norm-over-wrong-axis"
    code = "RUN120"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such layer."""
        found = list(self._each(run))
        if found:
            yield replace(
                found[0], evidence={"layers": [f.place.layer for f in found][:20]}, affected=len(found), of=None
            )

    def _each(self, run: RunFacts) -> Iterator[Finding]:
        known = widths(run)
        for row in modules(run):
            function = row["kind"] == "aten.native_layer_norm"
            shape = row["output_shape"] if function else row["input_shape"]
            if not row["calls"] or not shape or len(shape) < 2:
                continue
            over = row["settings"].get("normalized_shape")
            layer = row["name"].partition(":")[0]
            if row["settings"].get("evens") and row["output_shape"]:
                places, features = row["output_shape"][1:]
                yield self._finding(
                    layer,
                    f"has a weight for each of {features} features and gives mean 0 and deviation 1 over the {places} "
                    "places of axis 1 (limit: over the features)",
                )
                continue
            if function and over and len(over) == len(shape):
                yield self._finding(layer, f"normalises all of {tuple(shape)}, the batch included (limit 1 sample)")
                continue
            if over and math.prod(over) == 1 and ("LayerNorm" in row["kind"] or function):
                yield self._finding(layer, f"normalises each number of {tuple(shape)} by itself (limit 2 numbers)")
                continue
            if len(shape) < 3:
                continue
            if "LayerNorm" in row["kind"] or function:
                length, other, axis = (over[0] if over and len(over) == 1 else None), shape[1], 1
            elif row["kind"] == "BatchNorm1d":
                length, other, axis = row["settings"].get("num_features"), shape[-1], len(shape) - 1
            else:
                continue
            if length is None or length == other or other not in known or _one_head(length, shape, known):
                continue
            yield self._finding(
                layer,
                f"normalises {length} values of {tuple(shape)}: no layer has {length} features (limit 1), axis {axis} "
                f"has {other}",
            )

    def _finding(self, layer: str, what: str) -> Finding:
        return Finding(
            message=f"{layer or 'the model'} {what}; it takes away what it should keep",
            place=Place(layer=layer or None),
            fix=Fix(FixSafety.UNSAFE, "normalise over the features: transpose before, or give their number"),
        )


def _one_head(length: int, shape: Sequence[int], known: set[int]) -> bool:
    """Whether it may be the width of a head, normalised where heads have an axis of their own, or simply a width."""
    return length in known or (len(shape) > 3 and any(width % length == 0 for width in known))
