"""See MixedChannelMode."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES

CHANNELS = {
    "LA": 2,
    "La": 2,
    "PA": 2,
    "RGB": 3,
    "YCbCr": 3,
    "LAB": 3,
    "HSV": 3,
    "RGBA": 4,
    "RGBa": 4,
    "RGBX": 4,
    "CMYK": 4,
}
"""Channels of Pillow's modes; every other mode has one."""


class MixedChannelMode(Rule):
    """A few images with another number of channels than the rest.

    ## What it does
    Reports the channel modes (grey, palette, CMYK, alpha ...) that a small part of the images has.

    ## Why is this bad?
    A loader that does not convert gets tensors of 1, 2 or 4 channels among 3: stacking the batch stops with a shape
    error, hours into an epoch. One that converts decides for itself what becomes of alpha and CMYK.

    ## How it is computed
    Pillow's mode gives the channels: L, P, 1 and I are one, LA two, RGB and YCbCr three, RGBA and CMYK four. A number
    of channels that fewer than `max_share` of the images have is reported, once for each mode.

    ## Example
        mixed-channel-mode  3 of 128 images are L (1 channel) where most have 3 ...

    ## Fix
    Convert when loading (`Image.open(p).convert("RGB")`), or save the images alike.

    ## Known false positives
    Loaders that always convert; then it costs nothing.

    ## References
    Pillow handbook, Concepts: Modes.
    """

    name = "mixed-channel-mode"
    code = "IMG017"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        max_share: float = 0.2
        """Share of the images, 0..1, below which a number of channels is the odd one out."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("mode").is_not_null())
        known = known.with_columns(channels=pl.col("mode").replace_strict(CHANNELS, default=1, return_dtype=pl.Int64))
        counts = known["channels"].value_counts(sort=True)
        if counts.height < 2:
            return
        usual = counts["channels"][0]
        rare = counts.filter(pl.col("count") < self.options.max_share * known.height)["channels"]
        odd = known.filter(pl.col("channels").is_in(rare.implode()))
        for (mode,), group in odd.group_by("mode", maintain_order=True):
            channels = group["channels"][0]
            yield Finding(
                message=f"{plural(group.height, 'image')} of {known.height:,} {'is' if group.height == 1 else 'are'} "
                f"{mode} "
                f"({plural(channels, 'channel')}) where most have {usual}: a loader that does not convert stops with a "
                "shape error when it stacks a batch",
                place=image_place(group.row(0, named=True)),
                evidence={"mode": mode, "images": group["image"].head(EXAMPLES).to_list()},
                affected=group.height,
                of=known.height,
            )
