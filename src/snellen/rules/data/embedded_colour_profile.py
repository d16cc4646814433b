"""See EmbeddedColourProfile."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES


class EmbeddedColourProfile(Rule):
    """Images with a colour profile that no loader obeys.

    ## What it does
    Reports images that carry an ICC profile other than sRGB.

    ## Why is this bad?
    Viewers and labelling tools show the picture through the profile, training loaders ignore it: colours shift by a
    few per cent between what was labelled and what is learnt.

    ## How it is computed
    The profile's description is known and does not speak of sRGB. One finding for each profile.

    ## Example
        embedded-colour-profile  12 of 500 images carry 'Adobe RGB (1998)' ...

    ## Fix
    Convert the pixels to sRGB (PIL.ImageCms.profileToProfile) and save without a profile.

    ## Known false positives
    Profiles that are sRGB under another name.

    ## References
    ICC.1:2022; Pillow's ImageCms documentation.
    """

    name = "embedded-colour-profile"
    code = "IMG021"
    category = Category.PEDANTIC
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("mode").is_not_null())
        odd = known.filter(~pl.col("icc_profile").str.to_lowercase().str.contains("srgb"))
        for (profile,), group in odd.group_by("icc_profile", maintain_order=True):
            yield Finding(
                message=f"{plural(group.height, 'image')} of {known.height:,} "
                f"{'carries' if group.height == 1 else 'carry'} the "
                f"colour profile {profile!r}: people see it applied, networks do not",
                place=image_place(group.row(0, named=True)),
                evidence={"profile": profile, "images": group["image"].head(EXAMPLES).to_list()},
                affected=group.height,
                of=known.height,
            )
