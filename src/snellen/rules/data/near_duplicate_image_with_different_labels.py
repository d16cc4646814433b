"""See NearDuplicateImageWithDifferentLabels."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.rules.data._copies import Entry, labelled, near_pairs
from snellen.rules.data._records import overlap


class NearDuplicateImageWithDifferentLabels(Rule):
    """Nearly the same picture under two names.

    ## What it does
    Reports pairs of near-copies whose class differs, or in which boxes that cover each other are of different classes.

    ## Why is this bad?
    One of the labels is wrong, and the network cannot satisfy both.

    ## How it is computed
    Pairs as in `near-duplicate-image` whose pixels correlate by at least `min_correlation`. Mirrored, turned and
    cropped ones count for classes of whole images only. Boxes, as shares of width and height, cover each other from
    `min_iou`; a pair of boxes counts when neither has a box of its own class there.

    ## Example
        near-duplicate-image-with-different-labels  b.jpg shows the same as a.jpg, labelled 8 and 3 ...

    ## Fix
    Look at both pictures and mend the wrong label.

    ## Known false positives
    Classes that only a small detail tells apart, as a scratch on a part before a fixed camera, or the side on which
    something lies in a mirrored copy.

    ## References
    B. Barz, J. Denzler, "Do We Train on Test Data?" (2020), arXiv:1902.00423, for how common copies are.
    """

    name = "near-duplicate-image-with-different-labels"
    code = "SPL010"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """When two pictures are the same, and two boxes."""

        min_correlation: float = 0.95
        """Correlation of the pixels, 0..1, from which labels are compared."""
        min_iou: float = 0.7
        """IoU from which two boxes are around the same object; at 0.5 neighbours in a crowd may be."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        pairs = near_pairs(data).filter(pl.col("similarity") >= self.options.min_correlation)
        entries = labelled(data, pl.concat([pairs["image"], pairs["other"]]).unique().to_list())
        sizes = {row[0]: row[1:] for row in data.sizes().iter_rows()}
        for pair in pairs.iter_rows(named=True):
            one, other = entries[pair["image"]], entries[pair["other"]]
            labels = (one["class_name"], other["class_name"])
            if labels[0] == labels[1] and pair["kind"] == "near":
                labels = self._two_names(one, other, sizes[pair["image"]], sizes[pair["other"]]) or labels
            if labels[0] == labels[1]:
                continue
            yield Finding(
                message=f"{pair['other']} shows the same as {pair['image']} (correlation {pair['similarity']:.2f}), "
                f"labelled {labels[1]} and {labels[0]}: at least one is wrong",
                place=Place(file=pair["other"], image=pair["other"], split=pair["other_split"]),
                evidence={"images": [pair["image"], pair["other"]], "labels": labels, "distance": pair["distance"]},
                affected=2,
                rank=-pair["similarity"],
            )

    def _two_names(
        self, one: Entry, other: Entry, size: tuple[int, int], other_size: tuple[int, int]
    ) -> tuple[str, str] | None:
        """The classes of two boxes around the same object, where they differ."""
        if None in (*size, *other_size):
            return None
        scale = (size[0] / other_size[0], size[1] / other_size[1])
        scaled = [
            b | {"x1": b["x1"] * scale[0], "x2": b["x2"] * scale[0], "y1": b["y1"] * scale[1], "y2": b["y2"] * scale[1]}
            for b in other["boxes"]
        ]
        for box in one["boxes"]:
            for rival in scaled:
                if box["class_name"] == rival["class_name"] or overlap(box, rival) < self.options.min_iou:
                    continue
                mine = any(b["class_name"] == box["class_name"] and overlap(b, box) >= 0.3 for b in scaled)
                its = any(b["class_name"] == rival["class_name"] and overlap(b, rival) >= 0.3 for b in one["boxes"])
                if not mine and not its and None not in (box["class_name"], rival["class_name"]):
                    return box["class_name"], rival["class_name"]
        return None
