"""Scores panoptic segmentation: COCO's JSON with a PNG an image, against the dataset's segments."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.decoding import UNREADABLE
from snellen.data.facts import DataFacts
from snellen.data.records import RecordError, inside, integer, read_bytes
from snellen.errors import UseError
from snellen.evaluation.facts import PROBLEMS, ScoreFacts
from snellen.evaluation.panoptic import PanopticImage, Segment
from snellen.evaluation.prediction_records import PredictionsError
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table
from snellen.progress import Progress
from snellen.verbs.scoring.shapes import read_drawn
from snellen.verbs.scoring.truth import class_ids_of, classes_of, images_of, names_of, split_of


def score_panoptic(path: Path, data: DataFacts, split: str | None, progress: Progress) -> ScoreFacts:
    """Score `path`, a panoptic JSON or the folder that holds one, against the segments of `data`.

    The PNG files lie in the folder of the JSON's name, or beside it. Left out, with a row of problems: images without
    an annotation or a PNG (missing-prediction), pictures that cannot be read (unreadable-mask,
    object-unreadable-mask), annotations of no image of these (unknown-image) or of one again (repeated-image), and
    what `evaluate_panoptic` names. Raises UseError when there is no such JSON.
    """
    from snellen.evaluation.panoptic import evaluate_panoptic

    images = images_of(data, split)
    file = _json_of(path)
    told = _Told(file, class_ids_of(data), names_of(data, images), set(images))
    masks = data.masks.filter((pl.col("kind") == "panoptic") & pl.col("image").is_in(images))
    if masks.is_empty():
        raise UseError(f"{data.root}: no panoptic mask of these images to score against")
    classes = classes_of(data)
    countable = data.classes.filter(pl.col("thing").fill_null(True))["class_name"].drop_nulls()
    pairs = _Pairs(Path(data.root), told, masks, _segments_of(data), progress)
    scores = evaluate_panoptic(
        pairs.read(), classes, [c for c in classes if c in set(countable)], split=split_of(data, split) or "all"
    )
    problems = table(PROBLEMS, [*told.problems, *pairs.problems])
    return replace(scores, images=len(masks), problems=pl.concat([problems, scores.problems]))


def _json_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        raise PredictionsError(f"{path}: holds {len(found)} .json files; name the one with segments_info")
    return found[0]


def _segments_of(data: DataFacts) -> dict[str, list[Segment]]:
    """Image -> its segments, also those of unknown classes."""
    joined = data.outlines.filter(pl.col("kind") == "bitmap").join(data.boxes.select("object", "crowd"), on="object")
    found: dict[str, list[Segment]] = {}
    columns = joined.select("image", "mask_value", "class_name", "crowd").drop_nulls(["image", "mask_value"])
    for image, value, name, crowd in columns.iter_rows():
        found.setdefault(image, []).append(Segment(value, str(name), bool(crowd)))
    return found


class _Told:
    """What the JSON of the predictions says."""

    def __init__(self, file: Path, classes: Mapping[str, str], names: Mapping[str, str], scored: set[str]) -> None:
        self.file, self.classes = file, classes
        self.problems: list[dict[str, Any]] = []
        self.segments: dict[str, list[Segment]] = {}
        self.pictures: dict[str, str] = {}
        for row, entry in enumerate(_annotations(file), 1):
            said = entry if isinstance(entry, dict) else {}
            identity, name, segments = (said.get(key) for key in ("image_id", "file_name", "segments_info"))
            image = names.get(str(identity), str(identity))
            if not isinstance(name, str) or not isinstance(segments, list) or identity is None:
                kind = "missing-field" if said else "not-an-object"
                self._problem(kind, row, image if said else None, entry)
            elif image not in scored:
                self._problem("unknown-image", row, image, identity)
            elif image in self.segments:
                self._problem("repeated-image", row, image, identity)
            else:
                self.pictures[image] = name
                self.segments[image] = list(self._segments(segments, row, image))
        stems = (file.parent / file.stem, file.parent)
        self.folder = next((f for f in stems if any((f / p).is_file() for p in self._first())), stems[0])

    def _first(self) -> list[str]:
        """Some of the pictures' names that stay below the folder."""
        return [name for name in list(self.pictures.values())[:100] if _safe(self.file.parent, name)]

    def _segments(self, segments: list[Any], row: int, image: str) -> Iterator[Segment]:
        for segment in segments:
            said = segment if isinstance(segment, dict) else {}
            identity, class_id = integer(said.get("id")), said.get("category_id")
            if identity is None or class_id is None or abs(identity) >= 1 << 24:
                self._problem("missing-field", row, image, segment)
            else:
                yield Segment(identity, self.classes.get(str(class_id), str(class_id)))

    def _problem(self, kind: str, row: int, image: str | None, value: object) -> None:
        shown = None if image is None else image[:MAX_VALUE]
        self.problems.append({"kind": kind, "row": row, "image": shown, "value": str(value)[:MAX_VALUE]})


def _safe(folder: Path, name: str) -> bool:
    try:
        inside(folder, folder, name)
    except RecordError:
        return False
    return True


def _annotations(file: Path) -> list[Any]:
    try:
        document = json.loads(read_bytes(file))
    except RecordError as error:
        raise PredictionsError(f"{file} {error}") from error
    except (ValueError, RecursionError) as error:
        raise PredictionsError(f"{file}: not JSON ({error})") from error
    found = document.get("annotations") if isinstance(document, dict) else document
    if not isinstance(found, list) or not any(isinstance(e, dict) and "segments_info" in e for e in found):
        raise PredictionsError(f"{file}: expected COCO's panoptic format, annotations with segments_info")
    return found


@dataclass
class _Pairs:
    """Reads the maps of one image after the other, so that only two are in memory."""

    root: Path
    told: _Told
    masks: pl.DataFrame
    true: Mapping[str, list[Segment]]
    progress: Progress
    problems: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> Iterator[PanopticImage]:
        """Every image that has both maps."""
        for done, (image, file) in enumerate(self.masks.select("image", "file").iter_rows(), 1):
            name = self.told.pictures.get(image)
            if name is None:
                self._problem("missing-prediction", image, "no annotation names it")
            elif not _safe(self.told.folder, name):
                self._problem("unreadable-mask", image, f"{name}: leads out of the folder, not followed")
            elif not (self.told.folder / name).is_file():
                self._problem("missing-prediction", image, f"{name}: no such file in {self.told.folder.name}")
            else:
                true = self._drawn(self.root, file, image, "object-unreadable-mask")
                own = self._drawn(self.told.folder, name, image, "unreadable-mask")
                if true is not None and own is not None:
                    yield PanopticImage(image, true, self.true.get(image, []), own, self.told.segments[image])
            self.progress("score segments", done, len(self.masks))

    def _drawn(self, root: Path, file: str, image: str, problem: str) -> NDArray[np.integer] | None:
        try:
            return read_drawn(root, file, "panoptic")
        except UNREADABLE as error:
            self._problem(problem, image, f"{file}: {error}")
            return None

    def _problem(self, kind: str, image: str, value: str) -> None:
        self.problems.append({"kind": kind, "image": image, "value": value[:MAX_VALUE]})
