"""See MaskUnknownId."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.findings.words import listed, plural
from snellen.rules.data._masks import IGNORED, drawn, left_by_blending
from snellen.rules.data._records import EXAMPLES


class MaskUnknownId(Rule):
    """A value in a mask that stands for no class.

    ## What it does
    Reports values of index masks and colours of colour masks that the dataset's class list does not have.

    ## Why is this bad?
    Cross-entropy with an id beyond the head stops with an index error, on a GPU with a device-side assert; a loader
    that looks colours up turns the pixels into background without a word. nnU-Net's integrity check stops with
    "unexpected labels".

    ## How it is computed
    Values in use minus those of the class list, 0 and 255, which stand for nothing labelled where the list does not
    name them. Values that interpolation left at edges are mask-resampled's. One finding for each value, or a single one
    when they are more than `max_values`; none where the dataset has no class list.

    ## Example
        masks/0007.png  mask-unknown-id  value 21 stands for no class: 3 masks hold it, 0.41% of their pixels ...

    ## Fix
    Add the class to the list, or map the value to the class it was meant for.

    ## Known false positives
    A value other than 255 that the trainer is told to ignore: name it in `ignored`.

    ## References
    nnU-Net, verify_dataset_integrity; CAMMA-public/Endoscapes#5, where users ask what 255 means.
    """

    name = "mask-unknown-id"
    code = "ANN202"
    category = Category.CORRECTNESS
    tier = Tier.PIXELS
    causes = ("lossy-mask", "mask-mode", "mask-resampled")

    class Options(RuleOptions):
        """What counts as one."""

        ignored: tuple[int, ...] = ()
        """Further values, as drawn, that stand for nothing labelled."""
        max_values: int = 12
        """Unknown values above which they are reported as one."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.classes.filter("declared").is_empty():
            return
        rows = drawn(data, "index", "colour")
        spared = (*IGNORED, *self.options.ignored)
        odd = rows.filter(pl.col("class_name").is_null() & ~pl.col("value").is_in(spared) & ~left_by_blending())
        groups = [(group["value"][0], group) for _, group in odd.group_by("value", maintain_order=True)]
        if len(groups) > self.options.max_values:
            yield self._finding(data, sorted(value for value, _ in groups), odd)
            return
        for value, group in sorted(groups, key=lambda g: -int(g[1]["pixels"].sum())):
            yield self._finding(data, [value], group)

    def _finding(self, data: DataFacts, values: list[int], rows: pl.DataFrame) -> Finding:
        coloured = rows["kind"][0] == "colour"
        names = [f"#{v & 255:02x}{v >> 8 & 255:02x}{v >> 16 & 255:02x}" if coloured else str(v) for v in values]
        files = rows["file"].unique(maintain_order=True).to_list()
        images = rows["image"].unique(maintain_order=True).to_list()
        pixels = int(rows["pixels"].sum()) / max(int(rows.unique("file")["mask_pixels"].sum()), 1)
        what = "colour" if coloured else "value"
        told = f"{what} {names[0]} stands" if len(names) == 1 else f"{len(names):,} {what}s ({listed(names, 5)}) stand"
        whose = "its" if len(files) == 1 else "their"
        return Finding(
            message=f"{told} for no class: {plural(len(files), 'mask holds', 'masks hold')} "
            f"{'it' if len(names) == 1 else 'them'}, {pixels:.2%} of {whose} pixels; an index error in training, or "
            "background without a word",
            place=Place(file=files[0], image=images[0] if len(images) == 1 else None),
            evidence={"values": values[:100], "share": pixels, "images": images[:EXAMPLES]},
            affected=len(files),
            of=data.masks.height,
            rank=pixels,
        )
