"""What becomes of predictions besides their table: pictures, COCO JSON, and the frames of videos they were made of."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import polars as pl
from PIL import Image

from snellen.data.decoding import UNREADABLE, decode
from snellen.data.records import clean
from snellen.data.video import frames, length
from snellen.errors import UseError
from snellen.progress import Progress

CHUNK = 32
"""Frames of a video that lie on the disk at a time."""
Predictor = Callable[[Mapping[str, Path]], pl.DataFrame]
"""Key -> file in, table of predictions out."""


@dataclass
class Keeper:
    """Draws and measures images while their files are there."""

    class_names: Sequence[str]
    draw: Path | None
    """Folder of the pictures; None: none are drawn."""
    measure: bool
    """Whether `sizes` is wanted."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Image -> width and height, pixels."""
    _drawn: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.draw is not None and self.draw.is_dir() and any(self.draw.iterdir()):
            raise UseError(f"{self.draw}: already holds something; name a folder that is empty or not there")

    def keep(self, table: pl.DataFrame, files: Mapping[str, Path]) -> None:
        """Look at the images that could be read."""
        if self.draw is None and not self.measure:
            return
        failed = set(table.filter(pl.col("error").is_not_null())["image"])
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in files if name not in failed}
        for row in table.filter(pl.col("class_name").is_not_null()).iter_rows(named=True):
            rows[row["image"]].append(row)
        for name, own in rows.items():
            try:
                pixels = decode(files[name])
            except UNREADABLE:
                continue  # It has a row with the reason.
            self.sizes[name] = (pixels.shape[1], pixels.shape[0])
            if self.draw is not None:
                from snellen.training.drawing import drawn, write_picture

                write_picture(self._free(self.draw, name), drawn(pixels, own, list(self.class_names)))

    def _free(self, folder: Path, name: str) -> Path:
        """A file of `folder` named after the image; two images of one name are numbered."""
        stem = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in PurePath(name).stem)[:100] or "image"
        path, again = folder / f"{stem}.jpg", 1
        while path in self._drawn:
            path, again = folder / f"{stem}-{again}.jpg", again + 1
        self._drawn.add(path)
        return path


def of_stream(
    source: str, predictor: Predictor, keeper: Keeper, *, every: float, key_frames: bool, seconds: float | None,
    progress: Progress,
) -> Iterator[pl.DataFrame]:  # fmt: skip
    """Tables of the sampled frames of a video or camera, whose keys are `clip.mp4#t=12.500`, a few frames at a time."""
    whole = length(source)
    total = round(min(whole, seconds) if whole and seconds else whole or seconds or 0)
    with tempfile.TemporaryDirectory(prefix="snellen-frames-") as folder:
        waiting: dict[str, Path] = {}
        for frame in frames(source, every=every, key_frames=key_frames, seconds=seconds):
            path = Path(folder) / f"{len(waiting)}.png"
            Image.fromarray(frame.pixels).save(path, compress_level=1)
            waiting[f"{clean(source)}#t={frame.seconds:.3f}"] = path
            progress("video", min(round(frame.seconds), total), total)
            if len(waiting) == CHUNK:
                yield _kept(predictor, keeper, waiting)
                waiting = {}
        if waiting:
            yield _kept(predictor, keeper, waiting)


def _kept(predictor: Predictor, keeper: Keeper, files: Mapping[str, Path]) -> pl.DataFrame:
    table = predictor(files)
    keeper.keep(table, files)
    return table
