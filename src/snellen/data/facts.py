"""What is known of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from snellen.facts import Facts, Schema
from snellen.findings.severity import Tier

IMAGES: Schema = {
    "image": (pl.String(), "path relative to the root, forward slashes; the key of all tables"),
    "image_id": (pl.String(), "the format's own id, as COCO results name the image; null where it has none"),
    "split": (pl.String(), "train, val, test; null where the dataset declares none"),
    "class_name": (pl.String(), "the image's label in classification; null elsewhere"),
    "declared_width": (pl.Int64(), "pixels, as the annotations say; null where they say nothing"),
    "declared_height": (pl.Int64(), "pixels"),
    "label_file": (pl.String(), "the annotation file that speaks of this image; null when there is none"),
    "listed": (pl.Boolean(), "named by the annotations or a split list; false: only found on disk"),
    # tier HEADERS from here
    "exists": (pl.Boolean(), "something is there under this name; `error` says why when it cannot be read"),
    "bytes": (pl.Int64(), "file size"),
    "hash": (pl.String(), "blake2b-128 of the file's bytes, hex"),
    "format": (pl.String(), "JPEG, PNG ... by content, as Pillow names it; null when no decoder knows it"),
    "mode": (pl.String(), "Pillow mode: L, RGB, RGBA, P, CMYK, I;16 ..."),
    "width": (pl.Int64(), "pixels of the file, before EXIF rotation"),
    "height": (pl.Int64(), "pixels of the file, before EXIF rotation"),
    "exif_orientation": (pl.Int64(), "1..8; 1 when absent"),
    "complete": (pl.Boolean(), "the end marker (JPEG EOI, PNG IEND) is there; null for other formats"),
    "error": (pl.String(), "why header or pixels could not be read; null when they could"),
    # tier PIXELS from here
    "decoded": (pl.Boolean(), "the pixels could be decoded"),
    "brightness_p1": (pl.Float64(), "1st percentile of perceived brightness, 0..1"),
    "brightness_p99": (pl.Float64(), "99th percentile of perceived brightness, 0..1"),
    "contrast": (pl.Float64(), "standard deviation of brightness, 0..1"),
    "entropy": (pl.Float64(), "bits of the 256-bin grey histogram, 0..8"),
    "sharpness": (pl.Float64(), "variance of the Laplacian at a long side of 256 px, grey 0..255"),
    "mean_r": (pl.Float64(), "mean of the red channel, 0..1"),
    "mean_g": (pl.Float64(), "0..1"),
    "mean_b": (pl.Float64(), "0..1"),
    "std_r": (pl.Float64(), "standard deviation of the red channel, 0..1"),
    "std_g": (pl.Float64(), "0..1"),
    "std_b": (pl.Float64(), "0..1"),
    "phash": (pl.UInt64(), "64-bit DCT hash; near-equal images differ in few bits"),
}

BOXES: Schema = {
    "image": (pl.String(), "key into images; null when the annotation names an image that is not listed"),
    "file": (pl.String(), "annotation file, relative to the root"),
    "row": (pl.Int64(), "1-based line, or 1-based index of the record in the file"),
    "annotation_id": (pl.String(), "the format's own id; null where it has none"),
    "class_id": (pl.Int64(), "as written in the annotations; null when unreadable or when classes are named"),
    "class_name": (pl.String(), "null when the id stands for no declared class"),
    "x1": (pl.Float64(), "left, pixels of the decoded image; may be NaN or infinite: as written"),
    "y1": (pl.Float64(), "top"),
    "x2": (pl.Float64(), "right"),
    "y2": (pl.Float64(), "bottom"),
    "area": (pl.Float64(), "area as the annotations state it, px^2; null where they do not"),
    "crowd": (pl.Boolean(), "COCO iscrowd or VOC difficult: ignored in scoring"),
    "polygon_points": (pl.Int64(), "number of polygon vertices; null when there is no polygon"),
    "usable": (pl.Boolean(), "finite, positive width and height, known class, known image: a trainer may have it"),
}

PROBLEMS: Schema = {
    "kind": (pl.String(), "what is wrong with the record, kebab-case; the reader's module lists its kinds"),
    "file": (pl.String(), "file, relative to the root"),
    "row": (pl.Int64(), "1-based; null when the whole file is meant"),
    "image": (pl.String(), "the image concerned, where known"),
    "value": (pl.String(), "the offending value, at most 200 characters"),
    "message": (pl.String(), "one sentence"),
}

CLASSES: Schema = {
    "class_id": (pl.Int64(), "as written in the annotations, or the 0-based sorted position where classes are named"),
    "class_name": (pl.String(), "name"),
    "declared": (pl.Boolean(), "named by the dataset's own class list; false: only seen in use"),
}

LEDGER: Schema = {
    "record": (pl.String(), "image, box or file"),
    "file": (pl.String(), "where the record stands"),
    "row": (pl.Int64(), "1-based; null for whole files"),
    "image": (pl.String(), "the image concerned, where known"),
    "reason": (pl.String(), "why it was left out"),
}


@dataclass(frozen=True, kw_only=True)
class DataFacts(Facts):
    """Tables of a dataset. Bad records are rows too: `boxes` holds NaN boxes as NaN, with `usable` false."""

    TABLES: ClassVar[Mapping[str, Schema]] = {
        "images": IMAGES,
        "boxes": BOXES,
        "problems": PROBLEMS,
        "classes": CLASSES,
        "ledger": LEDGER,
    }

    root: str
    """The folder that `image` and `file` are relative to."""
    format: str
    """class-folders, coco, voc or yolo."""
    task: str
    """classification or detection."""
    images: pl.DataFrame
    boxes: pl.DataFrame
    problems: pl.DataFrame
    classes: pl.DataFrame
    ledger: pl.DataFrame
    """One row per record seen but left out of training; everything else seen is used."""
    tier_gathered: int = int(Tier.LABELS)
    notes: list[str] = field(default_factory=list)
    """What the reader assumed: "no split declared", ..."""

    @property
    def tier(self) -> Tier:
        """The dearest tier whose columns are filled."""
        return Tier(self.tier_gathered)

    def sizes(self) -> pl.DataFrame:
        """Columns image, width, height: pixels as displayed, after EXIF rotation.

        That of the file, or the declared one where the file was not read; null where neither is known.
        """
        turned = pl.col("exif_orientation").fill_null(1) >= 5
        width = pl.when(turned).then("height").otherwise("width")
        height = pl.when(turned).then("width").otherwise("height")
        return self.images.select(
            "image", width=pl.coalesce(width, "declared_width"), height=pl.coalesce(height, "declared_height")
        )
