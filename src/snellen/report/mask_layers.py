"""True and predicted label maps as colours to lay over a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decoding import UNREADABLE, open_image, too_large
from snellen.data.facts import DataFacts
from snellen.data.mask_classes import MOST, packed
from snellen.data.masks import drawn_values
from snellen.report.svg import SERIES
from snellen.report.thumbnails import SIDE, inside

Layer = NDArray[np.int16]
"""(h, w) position of the class whose colour a pixel gets; -1: none."""
CLEAR = "background"
"""A class of this name is not coloured, so that the picture is seen."""


@dataclass(frozen=True)
class MaskLayers:
    """The masks of a dataset, and those in a folder of predictions that bear the images' names."""

    data: DataFacts
    told: Path

    def true(self, image: str) -> Layer | None:
        """The labelled classes; None where there is no mask to read."""
        rows = self._files.get(image)
        return self._layer(Path(self.data.root), *rows) if rows else None

    def predicted(self, image: str) -> Layer | None:
        """The predicted ones: from the PNG that the longest end of the image's path names."""
        parts = PurePosixPath(image).with_suffix("").parts
        names = ("/".join(parts[first:]) + ".png" for first in range(len(parts)))
        name = next((name for name in names if (self.told / name).is_file()), None)
        kind = self._files.get(image, ("", ""))[1]
        return self._layer(self.told, name, kind) if name and kind else None

    def legend(self) -> list[tuple[str, str]]:
        """CSS class and name of each class that has a colour of its own."""
        return [(f"m{k}", name) for k, name in enumerate(self._names[:SERIES]) if name.lower() != CLEAR]

    @cached_property
    def _files(self) -> dict[str, tuple[str, str]]:
        masks = self.data.masks.filter(pl.col("kind").is_in(["index", "colour"])).drop_nulls(["image", "file"])
        return {image: (file, kind) for image, file, kind in masks.select("image", "file", "kind").iter_rows()}

    @cached_property
    def _names(self) -> list[str]:
        return list(self.data.classes["class_name"].drop_nulls().unique(maintain_order=True))

    @cached_property
    def _meanings(self) -> Mapping[str, Mapping[int, int]]:
        """Kind -> value -> position of its class."""
        position = {name: k for k, name in enumerate(self._names)}
        found: dict[str, dict[int, int]] = {"index": {}, "colour": {}}
        for number, name, colour in self.data.classes.select("class_id", "class_name", "colour").iter_rows():
            if name is not None and number is not None:
                found["index"][number] = position[name]
            if name is not None and colour is not None:
                found["colour"][packed(colour)] = position[name]
        kinds = self.data.masks.select("file", "kind").unique()
        used = self.data.mask_values.join(kinds, on="file").drop_nulls("class_name")
        for kind, value, name in used.select("kind", "value", "class_name").unique().iter_rows():
            if kind in found and name in position:
                found[kind][value] = position[name]
        return found

    def _layer(self, root: Path, file: str, kind: str) -> Layer | None:
        try:
            with open_image(inside(root, file)) as image:
                if too_large(*image.size):
                    return None
                factor = min(1.0, 2 * SIDE / max(image.size))
                size = (max(1, round(image.size[0] * factor)), max(1, round(image.size[1] * factor)))
                values: NDArray[Any] = drawn_values(image.resize(size, Image.Resampling.NEAREST), kind)
        except UNREADABLE:
            return None
        if kind == "colour" and values.dtype != np.int32:
            kind = "index"
        elif kind == "index" and values.max(initial=0) > MOST:
            kind = "colour"
        layer = np.full(values.shape, -1, dtype=np.int16)
        for value, k in self._meanings[kind].items():
            if self._names[k].lower() != CLEAR:
                layer[values == value] = k
        return layer
