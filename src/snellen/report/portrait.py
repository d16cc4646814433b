"""The dataset's portrait: what there is, drawn."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.data.facts import DataFacts
from snellen.report.cards import boxes_of
from snellen.report.charts import bars, density, heat, histogram
from snellen.report.plain import plain
from snellen.report.svg import SERIES
from snellen.report.thumbnails import Thumbnails, Tile
from snellen.report.totals import data_totals
from snellen.result import Result

SAMPLES = 12
SPLITS = 4
"""Splits drawn side by side."""


@dataclass(frozen=True)
class Portrait:
    """The dataset section."""

    totals: list[tuple[str, str]]
    charts: list[tuple[str, Markup, str]]
    """Title, drawing, and a line on how to read it."""
    samples: list[Tile]
    notes: list[str]
    legend: list[tuple[str, str]]
    """CSS class and class name of the boxes in the samples."""


def portrait(result: Result, data: DataFacts, thumbnails: Thumbnails) -> Portrait:
    """Draw `data`; a chart whose columns were not gathered is left out."""
    charts = [
        ("Objects by class" if _has_objects(data) else "Images by class", _classes(data), ""),
        ("Area by class", _areas(data), "Share of all labelled pixels."),
        ("Box size and shape", _shapes(data), "Each cell counts boxes; darker is more."),
        ("Where boxes lie", _centres(data), "Centres of boxes, all images laid over each other."),
        ("Objects per image", _per_image(data), ""),
        ("Image sizes", _sizes(data), "Pixels, after EXIF rotation."),
        ("Brightness", _levels(data, "brightness_p99", "99th percentile of brightness"), "0 black, 1 white."),
        ("Contrast", _levels(data, "contrast", "standard deviation of brightness"), ""),
    ]
    names = data.classes["class_name"].drop_nulls().to_list()
    return Portrait(
        totals=data_totals(data),
        charts=[(title, drawn, hint) for title, drawn, hint in charts if drawn],
        samples=_samples(result, data, thumbnails),
        notes=[plain(note) for note in data.notes[:20]],
        legend=[(f"s{i}", plain(name, 40)) for i, name in enumerate(names)]
        if _has_objects(data) and len(names) <= SERIES
        else [],
    )


def splits_of(data: DataFacts) -> list[str]:
    """Splits in the order train, val, test, others; empty when none is declared."""
    found = data.images["split"].drop_nulls().unique().to_list()
    usual = [s for s in ("train", "val", "test") if s in found]
    return (usual + sorted(s for s in found if s not in usual))[:SPLITS]


def _has_objects(data: DataFacts) -> bool:
    """Whether there are boxes to draw and count: in detection, and in panoptic segmentation."""
    return data.task == "detection" or len(data.boxes) > 0


def _classes(data: DataFacts) -> Markup:
    if data.task == "classification":
        rows = data.images
    else:
        labels = data.boxes.filter(pl.col("usable")) if _has_objects(data) else data.mask_values
        split = data.images.select("image", "split").unique("image")
        rows = labels.join(split, on="image", how="left", maintain_order="left")
    rows = rows.drop_nulls("class_name")
    splits = splits_of(data)
    counts = rows.group_by("class_name", "split").len()
    found: dict[tuple[str, str | None], int] = {(name, split): n for name, split, n in counts.iter_rows()}
    totals: dict[str, int] = dict.fromkeys(data.classes["class_name"].drop_nulls().to_list(), 0)
    for (name, _), n in found.items():
        totals[name] = totals.get(name, 0) + n
    order = sorted(totals, key=lambda name: -totals[name])
    if len(splits) < 2:
        return bars("objects by class", [(name, [totals[name]]) for name in order])
    return bars("objects by class and split", [(n, [found.get((n, s), 0) for s in splits]) for n in order], splits)


def _areas(data: DataFacts) -> Markup:
    """Share of the pixels of whole masks that each class has."""
    whole = data.masks.filter(pl.col("kind") != "instance")["file"].implode()
    rows = data.mask_values.filter(pl.col("file").is_in(whole)).drop_nulls("class_name")
    if not len(rows):
        return Markup("")
    areas = rows.group_by("class_name").agg(pl.col("pixels").sum()).sort(["pixels", "class_name"], descending=True)
    total = max(int(areas["pixels"].sum()), 1)
    return bars("area by class", [(name, [100 * pixels / total]) for name, pixels in areas.iter_rows()], unit=" %")


def _relative(data: DataFacts) -> pl.DataFrame:
    """Usable boxes in shares of their image: x, y (centre), w, h; empty where image sizes are not known."""
    sizes = data.sizes().rename({"width": "iw", "height": "ih"}).unique("image")
    return (
        data.boxes.filter(pl.col("usable"))
        .join(sizes, on="image", how="inner")
        .filter((pl.col("iw") > 0) & (pl.col("ih") > 0))
        .select(
            x=(pl.col("x1") + pl.col("x2")) / 2 / pl.col("iw"), y=(pl.col("y1") + pl.col("y2")) / 2 / pl.col("ih"),
            w=(pl.col("x2") - pl.col("x1")) / pl.col("iw"), h=(pl.col("y2") - pl.col("y1")) / pl.col("ih"),
            aspect=(pl.col("x2") - pl.col("x1")) / (pl.col("y2") - pl.col("y1")),
            side=((pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))).sqrt(),
        )
    )  # fmt: skip


def _shapes(data: DataFacts) -> Markup:
    boxes = _relative(data)
    return density(
        "box sizes against aspect ratios", boxes["side"].to_numpy(), boxes["aspect"].to_numpy(),
        x_label="square root of area, px (log)", y_label="width / height (log)", log=True,
    )  # fmt: skip


def _centres(data: DataFacts) -> Markup:
    boxes = _relative(data)
    if not len(boxes):
        return Markup("")
    edges = np.linspace(0, 1, 25)
    grid, _, _ = np.histogram2d(boxes["y"].to_numpy(), boxes["x"].to_numpy(), [edges, edges])
    return (
        heat("where the centres of boxes lie", grid, width=240, height=200, unit=" boxes") if grid.any() else Markup("")
    )


def _per_image(data: DataFacts) -> Markup:
    if not _has_objects(data) or not len(data.images):
        return Markup("")
    counts = data.boxes.filter(pl.col("usable")).group_by("image").len()
    joined = data.images.select("image", "split").join(counts, on="image", how="left").with_columns(
        pl.col("len").fill_null(0)
    )  # fmt: skip
    groups = _by_split(data, joined, "len")
    most = int(joined["len"].max() or 0)  # type: ignore[arg-type]
    span = (-0.5, max(most, 1) + 0.5)
    return histogram("objects per image", groups, x_label="objects", bins=min(most + 1, 40) or 1, span=span)


def _by_split(data: DataFacts, rows: pl.DataFrame, column: str) -> list[tuple[str, np.ndarray]]:
    splits = splits_of(data)
    if len(splits) < 2:
        return [("", rows[column].drop_nulls().to_numpy())]
    return [(s, rows.filter(pl.col("split") == s)[column].drop_nulls().to_numpy()) for s in splits]


def _sizes(data: DataFacts) -> Markup:
    known = data.sizes().drop_nulls()
    if known.select("width", "height").n_unique() < 2:
        return Markup("")
    return density(
        "image sizes", known["width"].to_numpy(), known["height"].to_numpy(), x_label="width, px", y_label="height, px"
    )


def _levels(data: DataFacts, column: str, label: str) -> Markup:
    if data.images[column].null_count() == len(data.images):
        return Markup("")
    return histogram(
        label, _by_split(data, data.images, column), x_label=label, span=(0, 1) if "p99" in column else None
    )


def _samples(result: Result, data: DataFacts, thumbnails: Thumbnails) -> list[Tile]:
    """Images at even distances through the dataset, so that the same dataset shows the same ones."""
    readable = data.images.filter(pl.col("exists").fill_null(True) & pl.col("decoded").fill_null(True))
    if not len(readable) or thumbnails.root is None:
        return []
    picked = readable[np.unique(np.linspace(0, len(readable) - 1, SAMPLES).round().astype(int)).tolist()]
    boxes = boxes_of(result, set(picked["image"])) if _has_objects(data) else {}
    tiles = [
        thumbnails.tile(image, boxes.get(image, ()), note=plain(name or split or "", 60))
        for image, name, split in picked.select("image", "class_name", "split").iter_rows()
    ]
    return [tile for tile in tiles if tile]
