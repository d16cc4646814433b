"""The checks that any tool for vision datasets has, ours for each, and docs/data-checks.md, which is made of them."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.planted_defects.examination import PLANTS
from benchmarks.planted_defects.plant import LEDGER, REFUSED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-checks.md"


@dataclass(frozen=True)
class Check:
    """One check: number, name, and what stands for it here beside the rules of its plants."""

    number: int
    name: str
    rules: tuple[str, ...] = ()
    """Rules that no plant expects, such as those that need a model or a recipe."""
    note: str = ""
    """Why there is none, or what is done instead."""


def _check(number: int, name: str, rules: str = "", note: str = "") -> Check:
    return Check(number, name, tuple(rules.split()), note)


FIELD_WIDE = (
    _check(1, "file that cannot be read or decoded"),
    _check(2, "file that is cut off"),
    _check(3, "suffix of another format"),
    _check(4, "picture too small"),
    _check(5, "odd size"),
    _check(6, "extreme aspect"),
    _check(7, "EXIF orientation"),
    _check(8, "mixed channel modes"),
    _check(9, "grey saved as colour"),
    _check(10, "alpha channel or palette"),
    _check(11, "16 bits"),
    _check(12, "colour profile"),
    _check(13, "several frames"),
    _check(14, "dark"),
    _check(15, "overexposed"),
    _check(16, "low information"),
    _check(17, "blurred"),
    _check(18, "low contrast"),
    _check(19, "bars along the edges"),
    _check(20, "property outlier"),
    _check(21, "names that clash: case, stem"),
    _check(22, "paths that do not travel", "unportable-path"),
    _check(23, "hidden and misplaced files", note="in the ledger: left out by every loader of the format as well"),
    _check(24, "identical pictures"),
    _check(25, "near-identical pictures"),
    _check(26, "one picture under different labels"),
    _check(27, "the same picture in two splits"),
    _check(28, "nearly the same picture in two splits"),
    _check(29, "one group (clip, patient, site) in two splits"),
    _check(30, "an augmented copy in another split"),
    _check(31, "missing, empty or tiny split"),
    _check(32, "class missing in a split"),
    _check(33, "order of files tells the label", "class-pure-batches", "left out of the data: seen in the run"),
    _check(34, "NaN or infinite coordinate"),
    _check(35, "box without area"),
    _check(36, "box below a pixel"),
    _check(37, "box beyond the image"),
    _check(38, "box outside the image"),
    _check(39, "coordinates that are not normalised"),
    _check(40, "another box layout"),
    _check(41, "tiny box at the network's input", "objects-below-stride"),
    _check(42, "box of the whole image"),
    _check(43, "extreme box aspect"),
    _check(44, "box twice"),
    _check(45, "two classes on one box"),
    _check(46, "box of an unusual size for its class"),
    _check(47, "all boxes of one size"),
    _check(48, "crowded image"),
    _check(49, "boxes at the border"),
    _check(50, "broken polygon"),
    _check(51, "outline and box disagree"),
    _check(52, "stated area is wrong"),
    _check(53, "crowd flag and run lengths"),
    _check(54, "rectangles and slivers as masks"),
    _check(55, "masks: size, ids, emptiness, resampling, JPEG"),
    _check(56, "specks in masks"),
    _check(57, "spacing, affine, NaN voxels", note="left out: 3-D volumes are not read"),
    _check(58, "keypoints"),
    _check(59, "oriented boxes"),
    _check(60, "malformed label file"),
    _check(61, "missing label file"),
    _check(62, "label without image"),
    _check(63, "listed image that is not there"),
    _check(64, "unknown class id"),
    _check(65, "class id that is no whole number"),
    _check(66, "id twice"),
    _check(67, "reference to nothing"),
    _check(68, "gaps in category ids"),
    _check(69, "stated image size is wrong"),
    _check(70, "class names alike"),
    _check(71, "broken configuration"),
    _check(72, "unused class"),
    _check(73, "rare class"),
    _check(74, "class imbalance"),
    _check(75, "a single class"),
    _check(76, "classes in another order in another split"),
    _check(77, "no background images"),
    _check(78, "attributes", note="left out: no format read here declares which attributes a class must have"),
    _check(79, "unlabelled beside labelled neighbours"),
    _check(
        80, "label errors by a model", "mislabelled-image overlooked-object misplaced-box swapped-class "
        "likely-label-errors likely-unlabelled-objects",
    ),
    _check(81, "outliers among embeddings", note="left out: it needs a network's features; compare check 20"),
    _check(82, "class shares differ between splits"),
    _check(83, "pictures differ between splits"),
    _check(84, "places and sizes of objects"),
    _check(85, "the file gives the class away"),
    _check(86, "normalisation", "normalization-mismatch"),
    _check(87, "object size and input size", "objects-below-stride objects-beyond-receptive-field"),
    _check(88, "anchors", "anchors-miss-objects"),
    _check(89, "letterbox waste", "letterbox-waste"),
    _check(90, "input larger than the images", "input-upscaled"),
    _check(91, "too few images", "batch-rarely-holds-class too-few-validation-images"),
    _check(92, "augmentations that break the labels", "flip-changes-labels"),
    _check(93, "heavy compression and decode time", "data-loading-bound", "decode time is measured in the run"),
)  # fmt: skip


def rules_of(check: Check) -> tuple[str, ...]:
    """Rules that stand for a check: those its plants expect, then its own."""
    planted = (p.rule for p in PLANTS if p.check == check.number and p.rule not in (LEDGER, REFUSED))
    return tuple(dict.fromkeys((*planted, *check.rules)))


def page() -> str:
    """The page as Markdown."""
    lines = [
        "# Data checks",
        "",
        "Every check that some tool for vision datasets has, the rules that stand for it here, and how many defects of",
        "its kind the benchmark plants. Written by `python -m benchmarks.planted_defects.run --write`; the defects are",
        "in `benchmarks/planted_defects/`.",
        "",
        "| no. | check | rules | plants | note |",
        "| ---: | --- | --- | ---: | --- |",
    ]
    for check in FIELD_WIDE:
        names = ", ".join(f"[{name}](rules/{name}.md)" for name in rules_of(check))
        count = sum(p.check == check.number for p in PLANTS)
        lines.append(f"| {check.number} | {check.name} | {names or '-'} | {count or '-'} | {check.note} |")
    formats = dict.fromkeys(p.format for p in PLANTS)
    told = ", ".join(f"{form} {sum(p.format == form for p in PLANTS)}" for form in formats)
    return "\n".join([*lines, "", f"{len(PLANTS)} plants: {told}.", ""])


def write_page() -> None:
    """Write docs/data-checks.md."""
    PAGE.write_text(page(), encoding="utf-8")
