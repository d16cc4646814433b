"""What the rules about copies share: which images show the same, in which splits, and whether their labels agree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Finding, Fix, FixSafety, Place
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES, overlap, solid_boxes

SPLITS = {"train": 0, "val": 1, "test": 2}
"""Order in which a leak is told: from the first into the second."""
CHANGES = {"near": "", "flipped": "mirrored", "turned": "turned", "cropped": "cropped"}
"""Kind of a pair -> how the one was changed, in a word."""
Entry = Mapping[str, Any]
"""`image`, `split`, `class_name`, `boxes` (solid), `mask` and `summary`, a few words on its labels."""


def same_picture(data: DataFacts) -> list[list[Entry]]:
    """Groups of images with identical bytes or, at tier PIXELS, identical pixels."""
    readable = data.images.filter(pl.col("hash").is_not_null() & (pl.col("bytes") > 0)).sort("image")
    copies = readable.filter(pl.col("hash").is_duplicated())
    links = copies.select("image", other=pl.col("image").first().over("hash")).rows()
    links += data.pairs.filter(pl.col("kind") == "pixels").select("image", "other").rows()
    groups = components([link for link in links if link[0] != link[1]])
    entries = labelled(data, [image for group in groups for image in group])
    return [[entries[image] for image in group] for group in groups]


def near_pairs(data: DataFacts) -> pl.DataFrame:
    """PAIRS that are not equal in every pixel, with `split` and `other_split`, the first not after the second.

    A file's identical copies in other splits are paired as well: the facts name only the first of them.
    """
    known = data.images.select("image", "hash", "split")
    twins = known.drop_nulls("hash").unique(["hash", "split"], keep="first", maintain_order=True)
    pairs = data.pairs.filter(pl.col("kind") != "pixels")
    for name, split in (("image", "split"), ("other", "other_split")):
        hashes = known.select(pl.col("image").alias(name), "hash")
        copies = twins.select(pl.col("image").alias("twin"), "hash", pl.col("split").alias(split))
        pairs = pairs.join(hashes, on=name, how="inner", maintain_order="left")
        pairs = pairs.join(copies, on="hash", how="inner", maintain_order="left")
        pairs = pairs.drop("hash", name).rename({"twin": name})
    late = pl.col("split").replace_strict(SPLITS, default=0) > pl.col("other_split").replace_strict(SPLITS, default=0)
    turned = {"image": "other", "other": "image", "split": "other_split", "other_split": "split"}
    return pairs.with_columns(pl.when(late).then(pl.col(b)).otherwise(pl.col(a)).alias(a) for a, b in turned.items())


def across_splits(pairs: pl.DataFrame) -> pl.DataFrame:
    """Those of `near_pairs` that lie in two splits."""
    return pairs.filter(pl.col("split") != pl.col("other_split"))


def components(links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The names that links join, directly or not, each group sorted, in the order of their first names."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in links:
        parent[root(one)] = root(other)
    groups: dict[str, list[str]] = {}
    for name in sorted(parent):
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def labelled(data: DataFacts, images: Sequence[str]) -> dict[str, Entry]:
    """Image -> its labels."""
    rows = data.images.filter(pl.col("image").is_in(images)).select("image", "split", "class_name")
    boxes: dict[str, list[dict[str, Any]]] = {}
    for box in solid_boxes(data).filter(pl.col("image").is_in(images)).iter_rows(named=True):
        boxes.setdefault(box["image"], []).append(box)
    whole = data.masks.filter((pl.col("kind") != "instance") & pl.col("image").is_in(images))
    masks = dict(whole.select("image", "pixel_hash").iter_rows())
    drawn = _classes_drawn(data, list(masks))
    entries: dict[str, Entry] = {}
    for row in rows.iter_rows(named=True):
        mine = boxes.get(row["image"], [])
        kinds = ", ".join(sorted({str(b["class_name"]) for b in mine}))
        shown = row["class_name"] or (f"{plural(len(mine), 'box', 'boxes')} of {kinds}" if mine else "no box")
        if data.task == "segmentation":
            mask = f"a mask of {drawn.get(row['image'], 'nothing')}"
            shown = mask if row["image"] in masks else "no mask"
        entries[row["image"]] = row | {"boxes": mine, "mask": masks.get(row["image"]), "summary": shown}
    return entries


def _classes_drawn(data: DataFacts, images: list[str]) -> dict[str, str]:
    """Image -> the classes in its mask, in one text."""
    rows = data.mask_values.filter(pl.col("image").is_in(images)).drop_nulls("class_name")
    names = rows.group_by("image").agg(pl.col("class_name").unique().sort().str.join(", "))
    return dict(names.select("image", "class_name").iter_rows())


def same_labels(one: Entry, other: Entry, least: float) -> bool:
    """Whether the labels of equal pictures agree: class, mask, and boxes that pair off in a class at IoU >= `least`."""
    if one["class_name"] != other["class_name"] or len(one["boxes"]) != len(other["boxes"]):
        return False
    if one["mask"] != other["mask"]:
        return False
    left = list(other["boxes"])
    for box in one["boxes"]:
        rivals = [b for b in left if b["class_name"] == box["class_name"]]
        best = max(rivals, key=lambda b: overlap(box, b), default=None)
        if best is None or overlap(box, best) < least:
            return False
        left.remove(best)
    return True


def leaks(data: DataFacts, pairs: pl.DataFrame, how: str) -> Iterator[Finding]:
    """A finding for each two splits that `pairs` (image, other, split, other_split) join, with the leaked share."""
    pairs = pairs.sort(
        pl.col("split", "other_split").replace_strict(SPLITS), "other", "image", maintain_order=True
    ).unique(["other", "split"], keep="first", maintain_order=True)
    for (first, second), found in pairs.group_by("split", "other_split", maintain_order=True):
        total = data.images.filter(pl.col("split") == second).height
        one = found.height == 1
        yield Finding(
            message=f"{found.height:,} of {plural(total, f'{second} image')} {'is' if one else 'are'} "
            f"{how.format(first=first)} ({found['other'][0]} is {found['image'][0]} there): the score on "
            f"{'it' if one else 'them'} measures memory",
            place=Place(split=str(second), image=found["other"][0] if one else None),
            evidence={
                "images": found["other"].head(EXAMPLES).to_list(),
                "originals": found["image"].head(EXAMPLES).to_list(),
            },
            affected=found.height,
            of=total,
            fix=Fix(
                FixSafety.UNSAFE,
                f"remove them from {first}, with their labels",
                {"op": "drop-image", "images": found["image"].unique(maintain_order=True).to_list()},
            ),
        )
