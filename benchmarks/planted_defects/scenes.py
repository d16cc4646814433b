"""Pictures with the statistics of photographs, of objects whose outlines are known to the pixel."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("leaf", "brick", "shell")
SHARES = (0.4, 0.35, 0.25)
POINTS = ("head", "left", "right")
CELL = 64
SIZES = ((256, 192), (192, 256))
"""Width and height of landscape and portrait pictures."""
SHAPES = (
    [(0.5 * np.cos(a), 0.5 * np.sin(a)) for a in np.arange(12) * np.pi / 6],
    [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)],
    [((0.36 + 0.14 * (k % 2)) * np.cos(a), (0.36 + 0.14 * (k % 2)) * np.sin(a))
     for k, a in enumerate(np.arange(10) * np.pi / 5)],
)  # fmt: skip
"""Outline of each class in a unit square around the origin."""
PLACES = ((0.4, 0.0), (0.0, -0.3), (0.0, 0.3))
"""The keypoints in the same square."""


@dataclass(frozen=True)
class Thing:
    """An object: its class, and its centre, width, height (pixels) and angle (radians)."""

    kind: int
    x: float
    y: float
    w: float
    h: float
    angle: float

    @property
    def name(self) -> str:
        """The class's name."""
        return CLASSES[self.kind]

    def turned(self, places: object) -> NDArray[np.float64]:
        """(n, 2) pixels of places given in the object's own unit square."""
        xy = np.array(places) * (self.w, self.h)
        c, s = np.cos(self.angle), np.sin(self.angle)
        return (xy @ np.array([[c, s], [-s, c]]) + (self.x, self.y)).round(2)

    @property
    def ring(self) -> NDArray[np.float64]:
        """(n, 2) corners of the outline, pixels."""
        return self.turned(SHAPES[self.kind])

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 2) corners of the rotated box, pixels."""
        return self.turned(SHAPES[1])

    @property
    def points(self) -> NDArray[np.float64]:
        """(3, 2) keypoints, pixels."""
        return self.turned(PLACES)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The outline's hull: left, top, right, bottom, pixels."""
        (x1, y1), (x2, y2) = self.ring.min(axis=0), self.ring.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)

    @property
    def area(self) -> float:
        """Area of the outline, px^2."""
        x, y = self.ring.T
        return round(float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2), 2)


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it."""

    number: int
    split: str
    width: int
    height: int
    things: tuple[Thing, ...]

    @property
    def stem(self) -> str:
        """The file's name without suffix."""
        return f"shot_{self.number:04}"

    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 3): the picture."""
        return _painted(self.number, self.width, self.height, self.things)

    def mask(self, thing: Thing) -> NDArray[np.bool_]:
        """(height, width): the pixels of one object."""
        drawn = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(drawn, [thing.ring.round().astype(np.int32)], 1)
        return drawn.astype(bool)


def noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """(height, width) of mean 0 and deviation 1 with the 1/f spectrum of natural images."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(np.hypot(fy, fx), 1 / 256)
    field = np.fft.irfft2(spectrum, s=(height, width))
    return (field - field.mean()) / field.std()


@cache
def _painted(number: int, width: int, height: int, things: tuple[Thing, ...]) -> NDArray[np.uint8]:
    rng = np.random.default_rng([7, number])
    light = noise(rng, height, width)[..., None]
    tints = np.stack([noise(rng, height, width) for _ in range(3)], axis=-1)
    picture = rng.uniform(95, 150) + rng.uniform(-18, 18, 3) + 42 * light + 14 * tints
    grain = 16 * noise(rng, height, width)[..., None]
    for thing in things:
        drawn = np.zeros((height, width), np.uint8)
        cv2.fillPoly(drawn, [thing.ring.round().astype(np.int32)], 1)
        base = np.array([(70, 140, 60), (170, 80, 60), (215, 195, 165)][thing.kind]) + rng.uniform(-25, 25, 3)
        picture = np.where(drawn[..., None] > 0, base + grain, picture)
    return np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)


def scene(number: int, split: str) -> Scene:
    """The picture of that number: a tenth is background, the others hold up to six objects that do not overlap."""
    rng = np.random.default_rng([3, number])
    width, height = SIZES[int(rng.random() < 0.25)]
    cells = [(x, y) for x in range(0, width, CELL) for y in range(0, height, CELL)]
    count = 0 if rng.random() < 0.1 else int(rng.integers(1, 7))
    things = []
    for position in rng.permutation(len(cells))[:count]:
        x, y = np.array(cells[position]) + CELL / 2 + rng.uniform(-2, 2, 2)
        w = float(np.clip(rng.lognormal(3.4, 0.25), 16, 46))
        h = w * rng.uniform(0.55, 0.9)
        angle = rng.uniform(0.2, 1.3)
        kind = int(rng.choice(3, p=SHARES))
        things.append(Thing(kind, round(float(x), 2), round(float(y), 2), round(w, 2), round(h, 2), round(angle, 3)))
    return Scene(number, split, width, height, tuple(things))


@cache
def scenes(train: int, val: int) -> tuple[Scene, ...]:
    """Two splits of pictures."""
    return tuple(scene(n, "train" if n < train else "val") for n in range(train + val))
