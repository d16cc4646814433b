import numpy as np
import polars as pl
import pytest

from snellen.evaluation.segments import find_segments, image_segments


def records(seed: int, images: int = 300, per_image: int = 4) -> tuple[dict[str, np.ndarray], list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), per_image)
    features = {
        "size": np.exp(rng.normal(3.5, 0.8, len(owner))),
        "aspect": rng.lognormal(0, 0.4, len(owner)),
        "neighbours": rng.poisson(1, len(owner)).astype(float),
        "brightness": rng.random(images)[owner],
        "contrast": rng.random(images)[owner],
        **{f"class={name}": (rng.random(len(owner)) < 0.3).astype(float) for name in "abc"},
    }
    return features, [f"{i}.jpg" for i in owner], owner


def test_a_dark_small_segment_is_found_and_said_in_words() -> None:
    features, images, _ = records(0)
    sick = (features["size"] < 24) & (features["brightness"] < 0.3)
    failed = np.random.default_rng(1).random(len(images)) < np.where(sick, 0.8, 0.2)
    found = find_segments(features, failed, images)
    row = found.row(0, named=True)
    assert "size up to 2" in row["segment"]
    assert "brightness up to 0.3" in row["segment"] or "brightness up to 0.2" in row["segment"]
    assert row["p"] < 1e-4
    assert row["failed"] / row["count"] > 0.6 > 0.3 > row["others_failed"] / row["others"]
    assert 0 < row["excess"] < 1
    assert len(row["images"]) == 10


@pytest.mark.parametrize("clustered", [False, True])
def test_random_failures_have_no_segment(clustered: bool) -> None:
    """Also where whole images fail together, which independent records would take for a pattern."""
    false = 0
    for seed in range(120):
        features, images, owner = records(seed, images=120)
        rng = np.random.default_rng(1000 + seed)
        rate = rng.beta(0.5, 1.5, 120)[owner] if clustered else 0.25
        failed = rng.random(len(images)) < rate
        false += len(find_segments(features, failed, images, seed=seed)) > 0
    assert false <= 0.05 * 120


def test_little_or_constant_data_has_no_segment() -> None:
    features, images, _ = records(0, images=10)
    assert find_segments(features, np.ones(40, bool), images).is_empty()
    assert find_segments({}, np.ones(40, bool), images).is_empty()
    assert find_segments({"size": np.full(40, np.nan)}, np.ones(40, bool), images).is_empty()
    assert find_segments({"size": np.zeros(0)}, np.zeros(0, bool), []).is_empty()


def test_images_of_a_classifier() -> None:
    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(400)]
    brightness = rng.random(400)
    wrong = rng.random(400) < np.where(brightness < 0.25, 0.7, 0.1)
    is_dog = rng.random(400) < 0.5
    predictions = pl.DataFrame(
        {"image": names, "class_name": np.where(is_dog != wrong, "dog", "cat"),
         "true_class": np.where(is_dog, "dog", "cat"),
         "outcome": np.where(wrong, "classification", "correct")}
    )  # fmt: skip
    found = image_segments(predictions, pl.DataFrame({"image": names, "brightness": brightness}))
    assert any("brightness up to 0.2" in s for s in found["segment"])
