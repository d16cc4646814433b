"""See TruncatedImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier


class TruncatedImage(Rule):
    """An image file that stops before its end.

    ## What it does
    Reports a JPEG without end-of-image marker or a PNG without IEND chunk: a download or copy that broke off.

    ## Why is this bad?
    The lower part of the picture is grey or missing while its boxes are still there. Some decoders raise, others fill
    the rest with grey; Ultralytics writes a JPEG without end marker to disk anew. `PIL.Image.verify` found none of 200
    truncated JPEGs, the end marker all of them.

    ## How it is computed
    The bytes FF D9 (JPEG) or `IEND` (PNG) must stand within the last 64 KiB; padding and appended previews after
    the marker are allowed. A JPEG cut inside its first 64 KiB whose embedded preview is whole passes this test;
    decoding then finds it, as `unreadable-image`.

    ## Example
        images/0007.jpg  truncated-image  the JPEG breaks off after 10,312 bytes, before its end marker: ...

    ## Fix
    Fetch the file again from its source.

    ## Known false positives
    A JPEG whose encoder leaves out the marker; it decodes whole.

    ## References
    ITU-T T.81, B.1.1.3 (markers); PNG specification, 11.2.5.
    """

    name = "truncated-image"
    code = "IMG002"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for row in data.images.filter(~pl.col("complete")).iter_rows(named=True):
            yield Finding(
                message=f"the {row['format'] or 'image'} breaks off after {row['bytes']:,} bytes, before its end "
                "marker: the rest of the picture is lost, its boxes are not",
                place=Place(file=row["image"], image=row["image"]),
                evidence={"bytes": row["bytes"], "error": row["error"]},
            )
