"""The perceptual hashes: what they survive, and that laying a picture another way is a matter of bits."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.data import hashes


def picture(seed: int, height: int = 192, width: int = 256) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (11, 13)).astype(np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def bits(one: int | None, other: int | None) -> int:
    assert one is not None
    assert other is not None
    return (one ^ other).bit_count()


@pytest.mark.parametrize("orientation", hashes.ORIENTATIONS)
@given(seed=st.integers(0, 10_000))
def test_the_hash_of_a_turned_picture_is_the_hash_turned(orientation: str, seed: int) -> None:
    grey = picture(seed)
    plain = hashes.columns(grey)
    turned = hashes.columns(np.ascontiguousarray(hashes.laid(grey, orientation)))
    for name in hashes.WINDOWS:
        expected = hashes.oriented(np.array([plain[name]], np.uint64), orientation)[0]
        # A coefficient that is zero to the last bit of a float may fall on either side.
        assert bits(int(expected), turned[name]) <= 1


def test_turned_means_what_numpy_means() -> None:
    grey = picture(0)
    assert (hashes.laid(grey, "turned by 90") == np.rot90(grey)).all()
    assert (hashes.laid(grey, "turned by 180") == np.rot90(grey, 2)).all()
    assert (hashes.laid(grey, "turned by 270") == np.rot90(grey, 3)).all()


@given(st.integers(0, 10_000))
def test_a_crop_has_the_hash_of_the_window_it_kept(seed: int) -> None:
    grey = picture(seed, 400, 400)
    whole = hashes.columns(grey)
    assert bits(whole["phash_centre"], hashes.columns(grey[16:-16, 16:-16])["phash"]) <= 4
    assert bits(whole["phash_inner"], hashes.columns(grey[32:-32, 32:-32])["phash"]) <= 4


def test_a_blank_picture_has_no_hash() -> None:
    assert set(hashes.columns(np.full((90, 120), 200, np.uint8)).values()) == {None}


@given(st.integers(1, 300), st.integers(1, 300))
def test_any_size(height: int, width: int) -> None:
    values = np.random.default_rng(height).integers(0, 256, (height, width)).astype(np.uint8)
    assert hashes.columns(values).keys() == hashes.WINDOWS.keys()
