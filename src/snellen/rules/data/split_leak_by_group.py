"""See SplitLeakByGroup."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._copies import leaks
from snellen.rules.data._resemblance import Resemblance, by_split

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing", "images", "jpegimages", "img", "imgs"}
"""Folders that say no more than the split."""
_GROUP = re.compile(
    r"(?:^|[^a-z])((?:patient|subject|scene|video|clip|sequence|seq|session|slide)[_\-]?\d+)(?=[_\-.\s]+\S)",
    re.IGNORECASE,
)


class SplitLeakByGroup(Rule):
    """One scene, video or burst of photographs spread over two splits.

    ## What it does
    Reports splits that share scenes: frames `frame_0116` in train and `frame_0117` in val, slices of one patient, or
    photographs taken by one camera within seconds, where these are truly alike.

    ## Why is this bad?
    Neighbouring frames show the same objects on the same ground. A split drawn frame by frame measures how well the
    network remembers scenes, and says nothing of new ones.

    ## How it is computed
    Images whose names hold the same patient, subject, scene, video, clip, sequence, session or slide with its number,
    as `patient12_slice_045`, are of one group, where there are several groups of several images.

    Where no such word tells, there are two kinds of links between images of two splits: names that are the same but for
    their last number, and numbers 1 to `max_gap` apart (the nearest counts); and EXIF times at most `max_seconds`
    apart by the same camera. Nearly every dataset is numbered, so a link alone says nothing. It counts where the linked
    images are alike: their 64-bit hashes are nearer than the median of pairs drawn at random from the two splits (and
    from one class, where images have one) by 2.33 robust standard deviations, which one unrelated pair in a hundred is,
    and the odds of that are at least ten times those of the pairs drawn.

    The finding comes from `min_images` such images on; linked ones must be alike in `min_share` of the cases.

    ## Example
        val  split-leak-by-group  38 of 60 val images are of scenes in train ...

    ## Fix
    Draw the splits by scene: all frames of a video, slices of a patient, photographs of an hour into one split.

    ## Known false positives
    Sets sorted by content before they were numbered.

    ## References
    S. Kapoor, A. Narayanan, "Leakage and the Reproducibility Crisis in Machine-learning-based Science" (2023),
    arXiv:2207.07048, leakage L3.2: non-independence between training and test samples.
    """

    name = "split-leak-by-group"
    code = "SPL008"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """Thresholds."""

        max_gap: int = 5
        """Most that the numbers of two neighbouring frames differ."""
        max_seconds: float = 3.0
        """Most seconds between two photographs of one burst."""
        min_images: int = 5
        """Images of the later split that must be linked and alike."""
        min_share: float = 0.2
        """Share, 0..1, of the linked images that must be alike: twenty times what chance gives."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        numbered = {row[0]: _number(*row) for row in data.images.select("image", "class_name").iter_rows()}
        clocked = {row[0]: _time(*row[1:]) for row in data.images.select("image", "taken", "camera").iter_rows()}
        resemblance = Resemblance(data)
        rows = []
        for first, second, earlier, later in by_split(data):
            found = {other: one for one, other in self._grouped(earlier, later)}
            # One number in both splits is two countings; one second may hold two photographs.
            for known, least, most in (
                (numbered, 1, self.options.max_gap),
                (clocked, 0, self.options.max_seconds),
            ):
                links = _nearest(known, earlier, later, least, most)
                alike = resemblance.alike(links, earlier, later)
                if len(alike) >= max(self.options.min_images, self.options.min_share * len(links)):
                    found |= {other: one for one, other in alike}
            rows += [(one, other, first, second) for other, one in found.items()]
        names = ("image", "other", "split", "other_split")
        pairs = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row")
        yield from leaks(data, pairs, "of scenes that {first} shows too")

    def _grouped(self, earlier: Sequence[str], later: Sequence[str]) -> list[tuple[str, str]]:
        """For each image of `later` whose name tells its group, one of `earlier` of the same group."""
        groups = {
            image: match.group(1).lower() for image in (*earlier, *later) if (match := _GROUP.search(_stem(image)))
        }
        if len(groups) < 2 * len(set(groups.values())) or len(set(groups.values())) < 2:
            return []
        known: dict[str, str] = {}
        for image in earlier:
            if image in groups:
                known.setdefault(groups[image], image)
        links = [(known[groups[image]], image) for image in later if groups.get(image) in known]
        return links if len(links) >= self.options.min_images else []


def _stem(image: str) -> str:
    """The file's name without its ending, and without what Roboflow adds to it."""
    return PurePosixPath(image).stem.split(".rf.")[0]


Mark = tuple[tuple[str | None, ...], float] | None
"""What must be the same, and the number or time by which images are neighbours."""


def _number(image: str, class_name: str | None) -> Mark:
    """Class, folder and name without its last number; that number."""
    path = PurePosixPath(image)
    match = _NUMBERED.fullmatch(_stem(image))
    if match is None or len(match.group(2)) > 15:
        return None
    folder = path.parent.name
    parts = [] if folder.lower() in _FOLDERS else [folder]
    return (class_name, *parts, match.group(1), match.group(3)), float(match.group(2))


def _time(taken: str | None, camera: str | None) -> Mark:
    """The camera, and the seconds of its clock."""
    if not taken or not camera:
        return None
    try:
        return (camera,), (datetime.strptime(taken[:19], "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None


def _nearest(
    marks: dict[str, Mark], earlier: Iterable[str], later: Iterable[str], least: float, most: float
) -> list[tuple[str, str]]:
    """For each image of `later`, its nearest neighbour in `earlier`, where that lies `least` to `most` away."""
    rows: dict[tuple[str | None, ...], list[tuple[float, str]]] = {}
    for image in earlier:
        mark = marks[image]
        if mark is not None:
            rows.setdefault(mark[0], []).append((mark[1], image))
    for row in rows.values():
        row.sort()
    links = []
    for image in later:
        mark = marks[image]
        row = rows.get(mark[0], []) if mark else []
        if mark is None or not row:
            continue
        at = bisect_left(row, (mark[1], ""))
        gap, found = min((abs(number - mark[1]), name) for number, name in row[max(0, at - 1) : at + 1])
        if least <= gap <= most:
            links.append((found, image))
    return links
