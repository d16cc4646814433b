"""A planted defect: what is spoilt, in which format, which check it is of, and the rule that has to name its place."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import getdoc
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.planted_defects.clean import shots
from benchmarks.planted_defects.scenes import Scene
from numpy.typing import NDArray
from PIL import Image

LEDGER = "(ledger)"
"""Instead of a rule: the file is a row of the ledger, as it is left out and harms nobody."""
REFUSED = "(refused)"
"""Instead of a rule: nothing can be known of the set, and the error names the file and the reason."""


@dataclass(frozen=True)
class Site:
    """Where a plant goes: a copy of the clean set, and the one picture of it that is the plant's own."""

    root: Path
    shot: Scene

    @property
    def stem(self) -> str:
        """Of the plant's picture."""
        return self.shot.stem

    def file(self, pattern: str) -> Path:
        """The one file below the root that matches; `*` in front of the stem and behind is up to the caller."""
        return next(iter(sorted(self.root.rglob(pattern))))

    @property
    def picture(self) -> Path:
        """The plant's picture."""
        return self.file(f"{self.stem}.jpg")

    def pixels(self) -> NDArray[np.float64]:
        """(height, width, 3) of it, 0..255."""
        with Image.open(self.picture) as image:
            return np.asarray(image, np.float64)

    def save(self, values: NDArray[Any] | Image.Image, **options: Any) -> None:
        """Write the plant's picture anew, as JPEG by its name unless `format` says otherwise."""
        image = values if isinstance(values, Image.Image) else Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        image.save(self.picture, **({"quality": 90} | options))

    def opened(self) -> Image.Image:
        """The plant's picture, loaded."""
        with Image.open(self.picture) as image:
            image.load()
            return image.copy()

    @contextmanager
    def json(self, pattern: str = "*train2017.json") -> Iterator[dict[str, Any]]:
        """A JSON document to be changed."""
        path = self.file(pattern)
        document = json.loads(path.read_text())
        yield document
        path.write_text(json.dumps(document))

    def mine(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """The COCO annotations of the plant's picture."""
        return [a for a in document["annotations"] if a["image_id"] == self.shot.number + 1]

    def entry(self, document: dict[str, Any]) -> dict[str, Any]:
        """The COCO image entry of the plant's picture."""
        return next(i for i in document["images"] if i["id"] == self.shot.number + 1)

    @contextmanager
    def rows(self, pattern: str = "") -> Iterator[list[list[str]]]:
        """The rows of the plant's YOLO label file, split at spaces, to be changed."""
        path = self.file(pattern or f"{self.stem}.txt")
        rows = [line.split() for line in path.read_text().splitlines()]
        yield rows
        path.write_text("".join(" ".join(row) + "\n" for row in rows))

    def replace(self, pattern: str, old: str, new: str, times: int = 1) -> None:
        """Edit a text file. Raises ValueError when `old` is not in it."""
        path = self.file(pattern)
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{old!r} is not in {path}")
        path.write_text(text.replace(old, new, times))


Spoil = Callable[[Site], str | None]
"""Spoils the set; returns what must be named, when that is not the stem of the plant's picture ('': the set itself)."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One way to spoil a clean set."""

    name: str
    format: str
    check: int
    """Number in the list of checks (`checks`)."""
    rule: str
    spoil: Spoil = field(repr=False)
    alone: bool = False
    """Concerns the whole set, so that it cannot stand beside others."""
    also: frozenset[str] = frozenset()
    """Rules that may speak too, as the same defect is one of theirs."""

    @property
    def how(self) -> str:
        """How it happens."""
        return " ".join((getdoc(self.spoil) or "").split())

    @property
    def key(self) -> str:
        """Unique name."""
        return f"{self.format}/{self.name}"


@dataclass
class Registry:
    """The plants of one module, in order."""

    plants: list[Plant] = field(default_factory=list)

    def add(
        self, forms: str, check: int, rule: str, *, alone: bool = False, also: str = ""
    ) -> Callable[[Spoil], Spoil]:
        """Register the decorated function as a plant in each of the formats, named as the function."""

        def register(spoil: Spoil) -> Spoil:
            name = spoil.__name__.replace("_", "-")
            for form in forms.split():
                extra = frozenset(also.split())
                self.plants.append(
                    Plant(name=name, format=form, check=check, rule=rule, spoil=spoil, alone=alone, also=extra)
                )
            return spoil

        return register


def sites(root: Path, plants: list[Plant]) -> Iterator[tuple[Plant, Site]]:
    """A picture of its own for each plant of one format: of the training split, with three objects or more."""
    free = [shot for shot in shots() if shot.split == "train" and len(shot.things) > 2]
    for plant, shot in zip(plants, free[: len(plants)], strict=True):
        yield plant, Site(root, shot)


def place_named(plant: Plant, site: Site) -> str:
    """Plant it; what a finding has to name."""
    named = plant.spoil(site)
    return site.stem if named is None else named
