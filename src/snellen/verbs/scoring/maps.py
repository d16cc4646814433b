"""Scores semantic segmentation: a folder of PNG masks with the images' names, against the dataset's masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.decoding import UNREADABLE
from snellen.data.facts import DataFacts
from snellen.data.mask_classes import IGNORED, UNLABELLED, colour_of, packed
from snellen.data.mask_classes import MOST as MOST_IDS
from snellen.data.records import files_below
from snellen.errors import UseError
from snellen.evaluation.facts import PROBLEMS, ScoreFacts
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table
from snellen.progress import Progress
from snellen.verbs.scoring.shapes import read_drawn
from snellen.verbs.scoring.truth import classes_of, images_of, split_of

Labels = NDArray[np.int32]
VOID = -1
"""Pixels without a label: they count nowhere."""
STRANGE = -2
"""Pixels whose value stands for no class."""
SUFFIXES = frozenset({".png"})
STRIP = 1 << 20
"""Pixels looked up at once, where they are too wide for a table of all values."""
MOST_PROBLEMS = 10_000
"""Files without an image that are listed."""


def score_maps(folder: Path, data: DataFacts, split: str | None, progress: Progress) -> ScoreFacts:
    """Score the masks in `folder` against those of `data`, pixel by pixel.

    A mask is found by the image's path without its suffix, or by the last parts of it. Its values are those of the
    dataset's masks: class ids, or colours where the dataset is drawn in colours; a grey mask of a coloured dataset
    holds class ids. Left out, with a row of problems: missing-prediction, unreadable-mask, object-unreadable-mask, and
    what `evaluate_semantic` names; unknown-image are files that no image has. Raises UseError when `folder` holds no
    PNG, or the dataset no masks.
    """
    from snellen.evaluation.semantic import MOST_CLASSES, evaluate_semantic

    images = set(images_of(data, split))
    masks = data.masks.filter(pl.col("kind").is_in(["index", "colour"]) & pl.col("image").is_in(list(images)))
    if masks.is_empty():
        raise UseError(f"{data.root}: no index or colour mask of these images to score against")
    classes = classes_of(data)
    if not 0 < len(classes) <= MOST_CLASSES:
        raise UseError(f"{data.root}: {len(classes)} classes; masks are scored for 1 to {MOST_CLASSES}")
    found, unused = masks_by_image(folder, list(masks["image"]))
    pairs = _Pairs(Path(data.root), folder, masks, found, _meanings(data, classes), classes, progress)
    scores = evaluate_semantic(pairs.read(), classes, ignore_index=VOID, split=split_of(data, split) or "all")
    problems = [*pairs.problems, *({"kind": "unknown-image", "image": f, "value": f} for f in unused[:MOST_PROBLEMS])]
    # The pairs name these by the values that the files hold.
    kept = scores.problems.filter(~pl.col("kind").is_in(["unknown-class", "object-unknown-class"]))
    told = f"masks of {folder.name} read as {' and '.join(sorted(pairs.kinds)) or 'nothing'}"
    return replace(
        scores, images=len(masks), problems=pl.concat([table(PROBLEMS, problems), kept]),
        convention=f"{told}; {scores.convention}",
    )  # fmt: skip


def masks_by_image(folder: Path, images: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """(image -> its PNG, relative to `folder`; None where it has none, or shares it; PNGs without an image).

    The longest end of the image's path that names a file counts. Raises UseError when there is no PNG.
    """
    try:
        there = {p.relative_to(folder).with_suffix("").as_posix(): p for p in files_below(folder, SUFFIXES)}
    except OSError as error:
        raise UseError(f"{folder}: cannot be read ({error.strerror})") from error
    if not there:
        raise UseError(f"{folder}: holds no .png mask; they bear the images' names")
    chosen: dict[str, str | None] = {}
    for image in images:
        parts = PurePosixPath(image).with_suffix("").parts
        ends = ("/".join(parts[first:]) for first in range(len(parts)))
        chosen[image] = next((end for end in ends if end in there), None)
    taken: dict[str, int] = {}
    for name in chosen.values():
        if name is not None:
            taken[name] = taken.get(name, 0) + 1
    unused = [there[name].relative_to(folder).as_posix() for name in sorted(there.keys() - taken.keys())]
    return {
        image: there[name].relative_to(folder).as_posix() if name is not None and taken[name] == 1 else None
        for image, name in chosen.items()
    }, unused


def _meanings(data: DataFacts, classes: Sequence[str]) -> dict[str, dict[int, int]]:
    """Kind of mask -> value -> position of its class: as declared, and as the examination found them in use."""
    position = {name: k for k, name in enumerate(classes)}
    rows = data.classes.drop_nulls("class_name")
    index = {int(i): position[n] for i, n in rows.select("class_id", "class_name").drop_nulls().iter_rows()}
    colour = {packed(c): position[n] for c, n in rows.select("colour", "class_name").drop_nulls().iter_rows()}
    kinds = data.masks.select("file", "kind").unique()
    used = data.mask_values.drop_nulls("class_name").join(kinds, on="file").select("kind", "value", "class_name")
    found = {"index": index, "colour": colour}
    for kind, value, name in used.unique().iter_rows():
        if kind in found and name in position:
            found[kind][value] = position[name]
    return found


@dataclass
class _Pairs:
    """Reads the masks of one image after the other, so that only two are in memory."""

    root: Path
    folder: Path
    masks: pl.DataFrame
    found: Mapping[str, str | None]
    meanings: Mapping[str, Mapping[int, int]]
    classes: Sequence[str]
    progress: Progress
    problems: list[dict[str, Any]] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    """What the predictions were read as, in words."""

    def read(self) -> Iterator[tuple[str, Labels, Labels]]:
        """Name, true and predicted label map of every image that has both."""
        rows = self.masks.select("image", "file", "kind").iter_rows()
        for done, (image, file, kind) in enumerate(rows, 1):
            pair = self._pair(image, file, kind)
            if pair is not None:
                yield image, *pair
            self.progress("score masks", done, len(self.masks))

    def _pair(self, image: str, file: str, kind: str) -> tuple[Labels, Labels] | None:
        name = self.found[image]
        if name is None:
            self._problem("missing-prediction", image, f"no PNG of its name alone in {self.folder.name}")
            return None
        true = self._drawn(self.root, file, kind, image, "object-unreadable-mask")
        drawn = self._drawn(self.folder, name, kind, image, "unreadable-mask")
        if true is None or drawn is None:
            return None
        own = kind
        if kind == "colour" and drawn.dtype != np.int32:
            # Grey: ids where they can be any, else the greys among the colours.
            own = "index" if drawn.dtype != np.uint8 or drawn.max(initial=0) < len(self.classes) else kind
            drawn = drawn if own == "index" else drawn.astype(np.int32) * 0x010101
        elif kind == "index" and drawn.dtype == np.int32 and drawn.max(initial=0) > MOST_IDS:
            own = "colour"
        self.kinds.add("colours" if own == "colour" else "class ids")
        return self._labels(true, kind, image, "object-"), self._labels(drawn, own, image, "")

    def _drawn(self, root: Path, file: str, kind: str, image: str, problem: str) -> NDArray[Any] | None:
        try:
            return read_drawn(root, file, kind)
        except UNREADABLE as error:
            self._problem(problem, image, f"{file}: {error}")
            return None

    def _labels(self, drawn: NDArray[Any], kind: str, image: str, prefix: str) -> Labels:
        """Positions of classes; VOID where the truth has no label, STRANGE where a predicted value is no class."""
        spared = (UNLABELLED, IGNORED) if kind == "index" else (UNLABELLED,)
        labels = positions(drawn, self.meanings[kind])
        loose = labels == STRANGE
        if prefix and loose.any():
            labels[loose] = VOID
            loose &= ~np.isin(drawn, spared)
        if loose.any():
            odd = drawn[loose]
            few = np.unique(odd)[:5].tolist()
            told = ", ".join(colour_of(v) if kind == "colour" and v >= 0 else str(v) for v in few)
            self._problem(f"{prefix}unknown-class", image, f"{odd.size} pixels of value {told}")
        return labels

    def _problem(self, kind: str, image: str, value: str) -> None:
        self.problems.append({"kind": kind, "image": image, "value": value[:MAX_VALUE]})


def positions(drawn: NDArray[Any], meaning: Mapping[int, int]) -> Labels:
    """What each value of `drawn` (H, W) means; STRANGE for those that mean nothing."""
    known = np.array(sorted(meaning), dtype=np.int64)
    to = np.array([*(meaning[v] for v in known.tolist()), STRANGE], dtype=np.int32)

    def look_up(values: NDArray[Any]) -> Labels:
        at = np.searchsorted(known, values)
        at[np.append(known, -1)[at] != values] = len(known)
        return to[at]

    if drawn.dtype in (np.uint8, np.uint16):
        return look_up(np.arange(np.iinfo(drawn.dtype).max + 1))[drawn]
    labels = np.empty(drawn.shape, dtype=np.int32)
    step = max(1, STRIP // max(drawn.shape[1], 1))
    for top in range(0, len(drawn), step):
        labels[top : top + step] = look_up(drawn[top : top + step].astype(np.int64))
    return labels
