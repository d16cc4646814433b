"""The random numbers of one augmented image."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draws:
    """Every number is drawn whether it is used or not: an operation switched on changes none of the others."""

    zoom: float
    """-1..1, as are all that are not said to be 0..1."""
    shift_x: float
    """0..1, place of the zoomed window."""
    shift_y: float
    mirror: float
    """0..1, held against a probability, as `upside_down`, `grey` and `erase` are."""
    brightness: float
    contrast: float
    upside_down: float
    rotate: float
    translate_x: float
    translate_y: float
    shear_x: float
    shear_y: float
    corners: tuple[float, ...]
    """0..1, x and y of the four corners by which the perspective draws them in."""
    saturation: float
    hue: float
    grey: float
    blur: float
    """0..1."""
    noise: float
    """0..1."""
    erase: float
    erased_area: float
    """0..1."""
    erased_ratio: float
    erased_x: float
    """0..1."""
    erased_y: float
    """0..1."""
    erased_colour: tuple[float, ...]
    """0..1, red, green, blue."""

    @classmethod
    def by(cls, rng: np.random.Generator) -> "Draws":
        """The next numbers of `rng`, always as many."""
        zoom = rng.uniform(-1, 1)
        shift_x, shift_y = rng.uniform(0, 1, 2)
        mirror = rng.uniform()
        brightness, contrast = rng.uniform(-1, 1, 2)
        signed = rng.uniform(-1, 1, 8).tolist()
        shares = rng.uniform(0, 1, 19).tolist()
        return cls(
            zoom=float(zoom), shift_x=float(shift_x), shift_y=float(shift_y), mirror=float(mirror),
            brightness=float(brightness), contrast=float(contrast),
            rotate=signed[0], translate_x=signed[1], translate_y=signed[2], shear_x=signed[3], shear_y=signed[4],
            saturation=signed[5], hue=signed[6], erased_ratio=signed[7],
            corners=tuple(shares[:8]), upside_down=shares[8], grey=shares[9], blur=shares[10], noise=shares[11],
            erase=shares[12], erased_area=shares[13], erased_x=shares[14], erased_y=shares[15],
            erased_colour=tuple(shares[16:19]),
        )  # fmt: skip
