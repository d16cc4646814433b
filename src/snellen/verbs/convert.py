"""`convert`: write a dataset in another format, with a ledger of what that format cannot hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data.dataset_error import DatasetError
from snellen.data.examine import examine
from snellen.data.writers.formats import FORMATS, holds, writer
from snellen.data.writers.losses import Losses
from snellen.data.writers.save import Images, new_folder, save
from snellen.errors import UseError
from snellen.files import to_json
from snellen.findings.severity import Tier
from snellen.findings.words import plural
from snellen.progress import Progress, silent
from snellen.report.plain import plain

LEDGER = "conversion.json"
READ_ALL_THE_SAME = ("symlink-placeholder", "unnormalized-coordinates", "missing-split-target")
"""Problems of a source that cost no record."""


@dataclass(frozen=True)
class Conversion:
    """What was written, and what the target does not hold; prints as a table."""

    source: str
    """The dataset, as the user named it."""
    source_format: str
    target: Path
    """The folder that was written."""
    target_format: str
    images: int
    """Images that the target lists."""
    boxes: int
    """Objects of the source."""
    files: dict[str, int]
    """Annotation and image files written."""
    losses: list[dict[str, Any]]
    """kind, count, what and examples of each kind of record that is not in the target as it was in the source."""
    moved: dict[str, str]
    """Image -> its path in the target, where that is another one."""

    def __str__(self) -> str:
        lines = [
            f"{plain(self.source)} ({self.source_format}) -> {plain(self.target)} ({self.target_format}): "
            f"{plural(self.images, 'image')}, {plural(self.boxes, 'object')}",
            f"{plural(self.files['annotation_files'], 'annotation file')} and "
            f"{plural(self.files['image_files'], 'image file')} written",
        ]
        if not self.losses:
            return "\n".join([*lines, f"nothing is lost in {self.target_format}"])
        lines.append(f"what {self.target_format} does not hold as it was ({LEDGER} has it too):")
        width = max(len(f"{loss['count']:,}") for loss in self.losses)
        lines += [
            f"  {loss['count']:>{width},}  {plain(loss['what'])} (e.g. {plain(loss['examples'][0])})"
            for loss in self.losses
        ]
        return "\n".join(lines)


def convert(
    data: str | Path,
    output: str | Path,
    *,
    to: str,
    images: Images = "copy",
    progress: Progress = silent,
) -> Conversion:
    """Write the dataset at `data` into the folder `output`, which must be empty or not there, in the format `to`.

    `images`: "copy" them byte for byte, "link" them (hard links: no second copy on the disk), or "none" for the
    annotations alone. The folder appears whole or not at all. Raises UseError when `to` is no format that holds such
    a dataset or `output` is not free, DatasetError when nothing can be read at `data`.
    """
    if to not in FORMATS:
        raise UseError(f"{to}: no format to write; known are {', '.join(FORMATS)}")
    if images not in ("copy", "link", "none"):
        raise UseError(f"images {images!r}: expected copy, link or none")
    facts = examine(Path(data), tier=Tier.HEADERS, progress=progress)
    if facts.masks.height:  # what their values mean, and where objects lie, shows in the pixels
        facts = examine(Path(data), tier=Tier.PIXELS, progress=progress)
    held = holds(facts)
    if held not in FORMATS[to][1]:
        able = ", ".join(name for name, (_, wanted) in FORMATS.items() if held in wanted)
        raise DatasetError(f"{data}: holds {held}, which cannot be written as {to}; these can hold them: {able}")
    if to == "class-folders" and images == "none":
        raise UseError("class folders are made of images: use --images copy or link")
    losses = Losses()
    for problem in facts.problems.filter(~pl.col("kind").is_in(READ_ALL_THE_SAME)).iter_rows(named=True):
        kind = problem["kind"]
        losses.add(
            f"source-{kind}", f"records of the source were read in part or not at all: {kind}", problem["message"]
        )
    target = Path(output)
    with new_folder(target, Path(facts.root)) as folder:
        written = writer(to)(facts, losses)
        files = save(facts, written, folder, images, losses, progress)
        done = Conversion(
            source=str(data), source_format=facts.format, target=target, target_format=to, images=len(written.places),
            boxes=facts.boxes.height, files=files, losses=losses.to_dicts(),
            moved={image: place for image, place in written.places.items() if image != place},
        )  # fmt: skip
        document = {**vars(done), "target": str(target), "version": 1}
        (folder / LEDGER).write_text(to_json(document), encoding="utf-8")
    return done
