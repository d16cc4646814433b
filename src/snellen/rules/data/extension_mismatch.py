"""See ExtensionMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES


class ExtensionMismatch(Rule):
    """An image whose suffix says another format than its bytes.

    ## What it does
    Reports image files whose content is another format than the suffix claims.

    ## Why is this bad?
    Programs that choose the decoder by suffix fail on them, and a JPEG saved as .png is lossy where one believes it
    is not.

    ## How it is computed
    Pillow names the format by the first bytes; it is compared with those customary for the suffix. One finding for
    each pair of suffix and format.

    ## Example
        extension-mismatch  12 .png files hold JPEG: decoders chosen by suffix fail on them

    ## Fix
    Rename the files and correct the annotations that name them.

    ## Known false positives
    Multi-picture JPEGs (MPO) of cameras are taken as JPEG.

    ## References
    Pillow, "Image file formats".
    """

    name = "extension-mismatch"
    code = "IMG003"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = {
            ".jpg": {"JPEG", "MPO"}, ".jpeg": {"JPEG", "MPO"}, ".png": {"PNG"}, ".bmp": {"BMP", "DIB"}, ".gif": {"GIF"},
            ".webp": {"WEBP"}, ".tif": {"TIFF"}, ".tiff": {"TIFF"},
        }  # fmt: skip
        found: dict[tuple[str, str], list[str]] = {}
        for image, kind in data.images.filter(pl.col("format").is_not_null()).select("image", "format").iter_rows():
            suffix = "." + image.rsplit(".", 1)[-1].lower()
            if kind not in known.get(suffix, {kind}):
                found.setdefault((suffix, kind), []).append(image)
        for (suffix, kind), images in sorted(found.items()):
            yield Finding(
                message=f"{plural(len(images), f'{suffix} file holds', f'{suffix} files hold')} {kind}: "
                f"decoders chosen by suffix fail on {'it' if len(images) == 1 else 'them'}",
                place=Place(file=images[0], image=images[0] if len(images) == 1 else None),
                evidence={"suffix": suffix, "format": kind, "images": images[:EXAMPLES]},
                affected=len(images),
                of=data.images.height,
            )
