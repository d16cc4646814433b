"""What is known of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from snellen.facts import Facts, Schema, table
from snellen.findings.severity import Tier

IMAGES: Schema = {
    "image": (pl.String(), "path relative to the root, forward slashes; the key of all tables"),
    "image_id": (pl.String(), "the format's own id, as COCO results name the image; null where it has none"),
    "split": (pl.String(), "train, val, test; null where the dataset declares none"),
    "class_name": (pl.String(), "the image's label in classification; null elsewhere"),
    "declared_width": (pl.Int64(), "pixels, as the annotations say; null where they say nothing"),
    "declared_height": (pl.Int64(), "pixels"),
    "label_file": (pl.String(), "the annotation file that speaks of this image; null when there is none"),
    "mask_file": (pl.String(), "the mask of the whole image (`masks`), relative to the root; null when there is none"),
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
    "taken": (pl.String(), "EXIF DateTimeOriginal as written; null when absent"),
    "camera": (pl.String(), "EXIF make and model; null when absent"),
    "frames": (pl.Int64(), "frames or pages in the file, at most 1000; 1 for a plain picture"),
    "icc_profile": (pl.String(), "name of an embedded colour profile; null when there is none"),
    "jpeg_quality": (pl.Int64(), "1..100 as the quantisation table says, by libjpeg's scale; null for other formats"),
    "complete": (pl.Boolean(), "the end marker (JPEG EOI, PNG IEND) is there; null for other formats"),
    "error": (pl.String(), "why header or pixels could not be read; null when they could"),
    # tier PIXELS from here
    "decoded": (pl.Boolean(), "the pixels could be decoded"),
    "brightness": (pl.Float64(), "mean perceived brightness, 0..1"),
    "brightness_p1": (pl.Float64(), "1st percentile of perceived brightness, 0..1"),
    "brightness_p5": (pl.Float64(), "5th percentile of perceived brightness, 0..1"),
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
    "colour_spread": (pl.Float64(), "99th percentile of the largest difference between channels of a pixel, 0..1"),
    "alpha_spread": (pl.Float64(), "largest minus smallest alpha, 0..1; null without an alpha channel"),
    "border": (pl.Float64(), "share of the image in one-coloured strips along its edges, 0..1"),
    "phash": (pl.UInt64(), "64-bit DCT hash (data/hashes.py): near-equal images differ in few bits; null when blank"),
    "phash_centre": (pl.UInt64(), "the hash of the image's centre, 0.92 of each side: what is left of it when cropped"),
    "phash_inner": (pl.UInt64(), "the hash of its inner 0.84"),
}

PAIRS: Schema = {
    "image": (pl.String(), "the first of two images that show the same; tier PIXELS"),
    "other": (pl.String(), "the second, later in the order of `images`"),
    "kind": (
        pl.String(),
        "pixels (equal size, mode and pixels in files that differ), near, flipped, turned (by a quarter or half turn), "
        "cropped",
    ),
    "orientation": (
        pl.String(),
        "how `other` lies against `image`: as it is, mirrored, turned by 90 ... (hashes.py)",
    ),
    "similarity": (pl.Float64(), "zero-mean normalised cross-correlation of the pixels that both show, 0..1"),
    "distance": (pl.Int64(), "differing bits of the hashes that found the pair"),
}

BOXES: Schema = {
    "object": (pl.Int64(), "0-based position in this table; the key of `outlines` and `keypoints`"),
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
    "truncated": (pl.Boolean(), "said to reach beyond the image; null where the format does not say"),
    "occluded": (pl.Boolean(), "said to be partly hidden; null where the format does not say"),
    "box_stated": (pl.Boolean(), "false: x1..y2 are the hull of the outline, as the format states no box"),
    "polygon_points": (pl.Int64(), "number of polygon vertices; null when there is no polygon"),
    "usable": (
        pl.Boolean(),
        "finite, positive width and height, known class, known image: a trainer may have it; null while x1..y2 are "
        "the hull of a bitmap that has not been measured (below tier PIXELS)",
    ),
}

OUTLINES: Schema = {
    "object": (pl.Int64(), "key into boxes"),
    "image": (pl.String(), "key into images; null as in boxes"),
    "file": (pl.String(), "annotation file"),
    "row": (pl.Int64(), "as in boxes"),
    "class_name": (pl.String(), "as in boxes"),
    "kind": (
        pl.String(),
        "polygon, rle, oriented (a rotated box: one ring of 4 points), bitmap (mask_file)",
    ),
    "rings": (pl.List(pl.List(pl.Float64())), "x0 y0 x1 y1 ... in pixels, a list a part; null for rle and bitmap"),
    "rle": (pl.String(), "COCO's compressed run lengths, column-major; null for the others"),
    "rle_width": (pl.Int64(), "pixels, as the annotation says; null for the others"),
    "rle_height": (pl.Int64(), "pixels"),
    "mask_file": (pl.String(), "the picture a bitmap is drawn in, relative to the root; null for the others"),
    "mask_value": (pl.Int64(), "its value there, r + 256 g + 65536 b for colours; null: every non-zero pixel"),
    # measured
    "area": (pl.Float64(), "px^2 enclosed, rings added up; null when unknown (bitmap below tier PIXELS)"),
    "x1": (pl.Float64(), "left end of the outline, pixels; null when unknown or empty"),
    "y1": (pl.Float64(), "top"),
    "x2": (pl.Float64(), "right"),
    "y2": (pl.Float64(), "bottom"),
    "fewest_points": (pl.Int64(), "vertices of the ring that has fewest; null for rle and bitmap"),
    "self_intersecting": (pl.Boolean(), "an edge of a ring crosses another of the same ring; null for rle and bitmap"),
    "finite": (pl.Boolean(), "no coordinate is NaN or infinite, and the run lengths can be read"),
    "skew": (pl.Float64(), "oriented: largest departure of a corner from 90 degrees; null for the others"),
    "angle": (pl.Float64(), "oriented: of the first edge against the x axis, degrees in [0, 90); null for the others"),
    "components": (pl.Int64(), "8-connected parts of a bitmap, or rings; null when unknown"),
    "smallest_component": (pl.Float64(), "px^2 of the smallest part; null when unknown"),
}

KEYPOINTS: Schema = {
    "object": (pl.Int64(), "key into boxes"),
    "image": (pl.String(), "key into images; null as in boxes"),
    "file": (pl.String(), "annotation file"),
    "row": (pl.Int64(), "as in boxes"),
    "class_name": (pl.String(), "as in boxes"),
    "xyv": (pl.List(pl.Float64()), "x y visibility of each point: pixels, and 0 absent, 1 hidden, 2 visible"),
    "stated": (pl.Int64(), "num_keypoints as the annotation says; null where it does not"),
}

MASKS: Schema = {
    "image": (pl.String(), "key into images"),
    "file": (pl.String(), "the mask, relative to the root"),
    "kind": (
        pl.String(),
        "index (values are class ids), colour (a colour a class), panoptic (a value a segment), instance (what is not "
        "zero is one object)",
    ),
    # tier HEADERS from here
    "format": (pl.String(), "PNG, JPEG ... by content; null when no decoder knows it"),
    "mode": (pl.String(), "Pillow mode"),
    "width": (pl.Int64(), "pixels of the file"),
    "height": (pl.Int64(), "pixels of the file"),
    "error": (pl.String(), "why it could not be read; null when it could"),
    # tier PIXELS from here
    "pixel_hash": (pl.String(), "blake2b-128 of size and values, hex: equal for equal masks, however compressed"),
    "values": (pl.Int64(), "distinct values in it"),
    "undeclared": (
        pl.Float64(),
        "share of pixels whose value stands for no class or segment, 0..1; those of value 0 and, in index masks, 255 "
        "are unlabelled and not counted; null for instance",
    ),
    "blended": (
        pl.Float64(),
        "share of the undeclared pixels that lie between two values of solid areas, as interpolation leaves them, "
        "0..1; null for panoptic and instance",
    ),
}

MASK_VALUES: Schema = {
    "image": (pl.String(), "key into images; tier PIXELS"),
    "file": (pl.String(), "the mask"),
    "value": (pl.Int64(), "as drawn; r + 256 g + 65536 b for colours; 1 for all that is not zero in an instance"),
    "class_name": (pl.String(), "null when the value stands for no class or segment"),
    "pixels": (pl.Int64(), "pixels of this value"),
    "components": (pl.Int64(), "8-connected parts; null when not counted, as that would take too long"),
    "smallest_component": (pl.Int64(), "pixels of the smallest part; null when not counted"),
    "solid": (pl.Boolean(), "fills a block of 3 x 3 pixels somewhere in the mask"),
    "between": (
        pl.Int64(),
        "of a value that is not solid: pixels that lie between two solid values in number or colour, within 3 px",
    ),
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
    "supercategory": (pl.String(), "as COCO names it; null where the format has none"),
    "colour": (pl.String(), "#rrggbb in colour masks and palettes; null where there is none"),
    "thing": (pl.Boolean(), "countable objects, as panoptic sets say; null where the format does not say"),
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
        "pairs": PAIRS,
        "boxes": BOXES,
        "outlines": OUTLINES,
        "keypoints": KEYPOINTS,
        "masks": MASKS,
        "mask_values": MASK_VALUES,
        "problems": PROBLEMS,
        "classes": CLASSES,
        "ledger": LEDGER,
    }

    root: str
    """The folder that `image` and `file` are relative to."""
    format: str
    """The reader's name: class-folders, coco, panoptic, voc, yolo, csv, masks, instance-masks ..."""
    task: str
    """classification, detection (objects, with or without outlines) or segmentation (a mask an image)."""
    images: pl.DataFrame
    pairs: pl.DataFrame = field(default_factory=lambda: table(PAIRS))
    """Near-duplicates that pixels confirm; identical files are found by `images.hash`."""
    boxes: pl.DataFrame
    """One row an annotated object, whatever its geometry."""
    outlines: pl.DataFrame = field(default_factory=lambda: table(OUTLINES))
    keypoints: pl.DataFrame = field(default_factory=lambda: table(KEYPOINTS))
    masks: pl.DataFrame = field(default_factory=lambda: table(MASKS))
    mask_values: pl.DataFrame = field(default_factory=lambda: table(MASK_VALUES))
    problems: pl.DataFrame
    classes: pl.DataFrame
    ledger: pl.DataFrame
    """One row per record seen but left out of training; everything else seen is used."""
    tier_gathered: int = int(Tier.LABELS)
    splits: list[str] = field(default_factory=list)
    """Splits that the dataset declares, whether images belong to them or not."""
    keypoint_names: list[str] = field(default_factory=list)
    """Names of the points of an object, in order; empty where the format has none."""
    keypoint_flip: list[int] = field(default_factory=list)
    """Position that each point takes in the mirrored image; empty where the format does not say."""
    skeleton: list[list[int]] = field(default_factory=list)
    """Pairs of 0-based points that a line joins."""
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
