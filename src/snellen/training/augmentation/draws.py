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
        shares = rng.random(33).tolist()
        signed = [2 * s - 1 for s in shares]
        return cls(
            zoom=signed[0], shift_x=shares[1], shift_y=shares[2], mirror=shares[3], brightness=signed[4],
            contrast=signed[5], rotate=signed[6], translate_x=signed[7], translate_y=signed[8], shear_x=signed[9],
            shear_y=signed[10], saturation=signed[11], hue=signed[12], erased_ratio=signed[13],
            corners=tuple(shares[14:22]), upside_down=shares[22], grey=shares[23], blur=shares[24], noise=shares[25],
            erase=shares[26], erased_area=shares[27], erased_x=shares[28], erased_y=shares[29],
            erased_colour=tuple(shares[30:33]),
        )  # fmt: skip
